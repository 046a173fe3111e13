"""Infinity of 24 blocks on 32 bits a position, conditioned on classes. Not measured."""

from mmengine.config import read_base

with read_base():
    from .infinity_layer12 import *

model.generator.update(dim=1536, depth=24, heads=16)
