"""A small generator without classes for `tools/benchmark.py --generator`: Infinity, for scales of bits."""

from mmengine.config import read_base

with read_base():
    from .llamagen import *

from fvq_generators import Infinity

model.generator = dict(
    type=Infinity,
    layout=dict(type='Pyramid', scales=[(side, side) for side in (1, 2, 4)], codebook_size=[2] * 10),
    dim=128,
    depth=4,
    heads=4,
    flips=0.0,
    weigh_scales=False,
    num_classes=1,
    cond_dropout=0.0,
    gate_init=0.1,
    modulation_init=0.5,
)
model.tokenizer = 'work_dirs/benchmark/tokenizer'
