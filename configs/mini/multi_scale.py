"""Multi-scale residual quantization (VAR), ten scales of one plain codebook."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers import MultiScaleQuantizer

inner = model.tokenizer.pop('quantizer')
model.tokenizer.quantizer = dict(type=MultiScaleQuantizer, quantizer=inner, num_phi=4)
del inner
