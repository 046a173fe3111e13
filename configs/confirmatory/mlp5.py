"""A 5-layer perceptron as projector."""

from mmengine.config import read_base

with read_base():
    from .linear import *

from fvq_quantizers.projectors import MLPProjector

model.tokenizer.quantizer.update(projector=dict(type=MLPProjector, depth=5))
sweep.row = dict(mlp5={})
