"""A 5-layer perceptron as projector ("MLP-5 + annealing" of table 5). The raw codebook starts at N(0, 1), as in `fvq`."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.inits import NormalInit
from fvq_quantizers.projectors import MLPProjector

model.tokenizer.quantizer.update(projector=dict(type=MLPProjector, depth=5), init=dict(type=NormalInit, std=1.0))
