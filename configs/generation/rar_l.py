"""RAR-L: 461 M parameters, FID 1.70 in its paper. Not in any table of the paper."""

from mmengine.config import read_base

with read_base():
    from .rar_b import *

model.generator.update(dim=1024, depth=24, width=4096)
default_hooks.report.sampling.update(cfg_scale=15.5, cfg_power=2.5, temperature=1.02)
paper = dict(rows=[], tokenizer='configs/baselines/maskgit_1k.py')
