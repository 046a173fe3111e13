"""RQ-Transformer with 1.4 B parameters."""

from mmengine.config import read_base

with read_base():
    from .rq_transformer_480m import *

model.generator.update(depth=42, head_depth=6)
