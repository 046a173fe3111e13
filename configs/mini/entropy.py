"""Vanilla VQ with the entropy term of MaskGIT (0.1)."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.regularizers import EntropyRegularizer

model.tokenizer.quantizer.update(regularizer=dict(type=EntropyRegularizer, weight=0.1))
