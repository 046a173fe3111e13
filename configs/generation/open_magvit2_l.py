"""Open-MAGVIT2-L: 804 M parameters, FID 2.51 in its paper. Not in any table of the paper."""

from mmengine.config import read_base

with read_base():
    from .open_magvit2_b import *

model.generator.update(dim=1280, depth=36, inner_depth=3, heads=20)
default_hooks.report.sampling.update(temperature=1.1, second_cfg_scale=1.9)
paper = dict(rows=[], tokenizer='configs/baselines/open_magvit2_262k.py')
