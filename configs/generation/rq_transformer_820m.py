"""RQ-Transformer with 821 M parameters."""

from mmengine.config import read_base

with read_base():
    from .rq_transformer_480m import *

model.generator.update(depth=24)
