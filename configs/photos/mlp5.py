"""A 5-layer perceptron as projector (`MLP-5 + annealing` of table 5) on the bundled photos."""

from mmengine.config import read_base

with read_base():
    from .._base_.photos import *

from fvq_quantizers.projectors import MLPProjector

model.tokenizer.quantizer.update(projector=dict(type=MLPProjector, depth=5))
