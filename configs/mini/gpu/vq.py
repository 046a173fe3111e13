"""Vanilla VQ with 16,384 codes of 256 channels at 128x128."""

from mmengine.config import read_base

with read_base():
    from ..._base_.mini_128 import *
