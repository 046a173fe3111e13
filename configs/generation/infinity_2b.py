"""Infinity-2B from captions, its stage at 256x256: 32 blocks, 2.2 B parameters. Not measured.

The released `infinity_2b_reg.pth` is of 1024x1024, the same model with six scales more."""

from mmengine.config import read_base

with read_base():
    from .infinity_layer12_t2i import *

model.update(shard='bfloat16')
model.generator.update(dim=2048, depth=32, heads=16, checkpointing=True)
