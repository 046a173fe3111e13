"""Vanilla VQ with a penalty that pulls the codebook towards orthogonality (weight 10)."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.regularizers import OrthogonalRegularizer

model.tokenizer.quantizer.update(regularizer=dict(type=OrthogonalRegularizer, weight=10.0))
