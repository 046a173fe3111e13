"""XQ-GAN with one code of 8,192, of 32 channels: its `VQ-8192`."""

from mmengine.config import read_base

with read_base():
    from .xqgan_4k import *

model.tokenizer.encoder.update(z_channels=32)
model.tokenizer.decoder.update(z_channels=32)
model.tokenizer.quantizer.update(codebook_size=8192, code_dim=32)
