"""VAR's tokenizer (Tian et al., 2024): ten scales, 4,096 codes of 32 channels, 160 channels in encoder and decoder.

Its training code was never released, and its weights were trained on OpenImages. The architecture is VAR's; losses and
optimizer are LlamaGen's, as in FVQ (VAR)."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256 import *
    from .._base_.models.vqgan import *
    from .._base_.schedules.constant_40e import *

from fvq_quantizers import MultiScaleQuantizer
from fvq_quantizers.inits import NormalInit

model.tokenizer.update(quant_kernel=3)
model.tokenizer.encoder.update(ch=160, z_channels=32)
model.tokenizer.decoder.update(ch=160, z_channels=32)
model.tokenizer.quantizer = dict(
    type=MultiScaleQuantizer,
    quantizer=dict(type=VectorQuantizer, codebook_size=4096, code_dim=32, init=dict(type=NormalInit, std=1.0)),
    scales=(1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
    num_phi=4,
)
paper = dict(rows=['t4.4', 't8.26'], rfid_in1k=1.00)
