"""A small generator without classes for `tools/benchmark.py --generator`: RQ-Transformer, for several codes a position."""

from mmengine.config import read_base

with read_base():
    from .llamagen import *

from fvq_generators import RQTransformer

model.generator = dict(
    type=RQTransformer,
    layout=dict(type='Grid', height=4, width=4, codebook_size=[1024] * 4),
    code_dim=64,
    dim=128,
    depth=4,
    head_depth=2,
    heads=4,
    num_classes=1,
)
model.tokenizer = 'work_dirs/benchmark/tokenizer'
