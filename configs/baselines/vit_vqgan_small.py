"""ViT-VQGAN small: 8 blocks of 512 channels in both halves, 51 million parameters."""

from mmengine.config import read_base

with read_base():
    from .vit_vqgan_base import *

model.tokenizer.encoder.update(width=512, depth=8, heads=8)
model.tokenizer.decoder.update(width=512, depth=8, heads=8)
