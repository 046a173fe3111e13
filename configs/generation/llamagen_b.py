"""LlamaGen-B: 111 M parameters."""

from mmengine.config import read_base

with read_base():
    from .._base_.generation import *
