"""Residual quantization, four codes a position from one VQBridge codebook: FVQ (RQ-VAE) on the bundled photos."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_photos import *

from fvq_quantizers import ResidualQuantizer

inner = model.tokenizer.pop('quantizer')
model.tokenizer.quantizer = dict(type=ResidualQuantizer, quantizer=inner, depth=4, shared=True)
del inner
