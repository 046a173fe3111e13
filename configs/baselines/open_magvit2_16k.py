"""Open-MAGVIT2 (Luo et al., 2024): lookup-free quantization of 14 bits, 4 residual blocks, adaptive group norm in the decoder.

The released 256-pixel file has 270 epochs with drops at 200 and 250; we use the 330 epochs of the tables, with IBQ's drops.
There is no convolution between encoder and quantizer."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_random_crop import *
    from .._base_.models.vqgan_ibq import *
    from .._base_.schedules.ibq_330e import *

from fvq_core.autoencoders import AdaptiveGroupNormDecoder
from fvq_core.autoencoders import MAGVIT2Encoder
from fvq_quantizers import LFQ

model.tokenizer.encoder = dict(type=MAGVIT2Encoder, z_channels=14)
model.tokenizer.quantizer = dict(type=LFQ, codebook_size=16384)
model.tokenizer.decoder = dict(type=AdaptiveGroupNormDecoder, z_channels=14)
model.tokenizer.quant_kernel = 0
paper = dict(rows=['t8.11'], rfid_in1k=1.58, lpips=0.23, usage=100)
