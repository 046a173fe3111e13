"""`mlp5` with the raw codebook of the paper's release, which starts at U(-1/K, 1/K)."""

from mmengine.config import read_base

with read_base():
    from .mlp5 import *

from fvq_quantizers.inits import UniformInit

model.tokenizer.quantizer.init = dict(type=UniformInit)
