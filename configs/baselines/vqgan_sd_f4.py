"""VQGAN at f = 4 with 8,192 codes of 3 channels (vq-f4 of Rombach et al., 2022), whose latents LDM-4 models. For one device.

The recipe is that of `vqgan_sd.py`; no level has attention but the middle."""

from mmengine.config import read_base

with read_base():
    from .vqgan_sd import *

model.tokenizer.encoder.update(ch_mult=(1, 2, 4), z_channels=3, attention=[])
model.tokenizer.decoder.update(ch_mult=(1, 2, 4), z_channels=3, attention=[])
model.tokenizer.quantizer.update(codebook_size=8192, code_dim=3)
paper = None
