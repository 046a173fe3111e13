"""Gumbel-softmax VQ (DALL-E, GumbelVQ of VQGAN)."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers import GumbelQuantizer

model.tokenizer.quantizer = dict(type=GumbelQuantizer, codebook_size=1024, code_dim=64)
