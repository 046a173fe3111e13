"""RAR-XL: 955 M parameters, FID 1.50 in its paper. Not in any table of the paper."""

from mmengine.config import read_base

with read_base():
    from .rar_b import *

model.generator.update(dim=1280, depth=32, width=5120)
default_hooks.report.sampling.update(cfg_scale=6.9, cfg_power=1.5, temperature=1.02)
paper = dict(rows=[], tokenizer='configs/baselines/maskgit_1k.py')
