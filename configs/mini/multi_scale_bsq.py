"""Multi-scale BSQ (Infinity, Han et al., 2025): ten scales of the signs of 10 channels, a label for each bit."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers import MultiScaleQuantizer
from fvq_quantizers.bsq import BSQ

model.tokenizer.quantizer = dict(
    type=MultiScaleQuantizer,
    quantizer=dict(type=BSQ, codebook_size=1024, bit_labels=True),
    phi_ratio=0.0,
    interpolation='bilinear',
)
