"""Residual quantization (Lee et al., 2022): four codes a position from one plain codebook."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers import ResidualQuantizer

inner = model.tokenizer.pop('quantizer')
model.tokenizer.quantizer = dict(type=ResidualQuantizer, quantizer=inner, depth=4, shared=True)
del inner
