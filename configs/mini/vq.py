"""Vanilla VQ: the codebook itself is trained, nothing projects it."""

from mmengine.config import read_base

with read_base():
    from .._base_.mini import *
