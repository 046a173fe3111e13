"""A small generator without classes for `tools/benchmark.py --generator`: VAR, for scales of codes."""

from mmengine.config import read_base

with read_base():
    from .llamagen import *

from fvq_generators import VAR

model.generator = dict(
    type=VAR,
    layout=dict(type='Pyramid', scales=[(side, side) for side in (1, 2, 4)], codebook_size=1024),
    code_dim=64,
    dim=128,
    depth=4,
    heads=4,
    num_classes=1,
    cond_dropout=0.0,
    drop_path=0.0,
    gate_init=0.1,
)
model.tokenizer = 'work_dirs/benchmark/tokenizer'
