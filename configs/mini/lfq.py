"""LFQ (Yu et al., 2024): 10 bits, the signs of 10 channels."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers import LFQ

model.tokenizer.quantizer = dict(type=LFQ, codebook_size=1024)
