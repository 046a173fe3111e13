"""Vanilla VQ with the rotation trick (Fifty et al., 2025) instead of straight-through gradients."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.estimators import RotationTrick

model.tokenizer.quantizer.update(estimator=dict(type=RotationTrick))
