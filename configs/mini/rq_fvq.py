"""FVQ (RQ-VAE): four codes a position from one VQBridge codebook."""

from mmengine.config import read_base

with read_base():
    from .fvq import *

from fvq_quantizers import ResidualQuantizer

inner = model.tokenizer.pop('quantizer')
model.tokenizer.quantizer = dict(type=ResidualQuantizer, quantizer=inner, depth=4, shared=True)
del inner
