"""The linear map from the paper's start, annealed: figure 3 has it at 53 % of 16,384 codes. Exploratory (docs/confirmatory.md)."""

from mmengine.config import read_base

with read_base():
    from ..linear import *

from fvq_quantizers.inits import UniformInit

sweep = None
model.tokenizer.quantizer.update(init=dict(type=UniformInit))
