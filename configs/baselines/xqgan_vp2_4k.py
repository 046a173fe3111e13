"""XQ-GAN with two codes at each of 16 x 16 positions, from codebooks of their own with 4,096 codes of 32 channels: its `VP2-4096`."""

from mmengine.config import read_base

with read_base():
    from .xqgan_4k import *

from fvq_quantizers import ProductQuantizer

model.tokenizer.encoder.update(groups=2, z_channels=32)
model.tokenizer.decoder.update(groups=2, z_channels=32)
model.tokenizer.quantizer = dict(
    type=ProductQuantizer,
    quantizer=dict(type=VectorQuantizer, codebook_size=4096, code_dim=32, normalize=dict(type=L2Normalize)),
    groups=2,
)
