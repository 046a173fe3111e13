"""ViT-VQGAN large: the encoder of the small one, a decoder of 32 blocks of 1,280 channels, 613 million parameters."""

from mmengine.config import read_base

with read_base():
    from .vit_vqgan_base import *

model.tokenizer.encoder.update(width=512, depth=8, heads=8)
model.tokenizer.decoder.update(width=1280, depth=32, heads=16, checkpointing=True)
