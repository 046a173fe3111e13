"""RAR-XXL: 1499 M parameters, FID 1.48 in its paper. Not in any table of the paper."""

from mmengine.config import read_base

with read_base():
    from .rar_b import *

model.generator.update(dim=1408, depth=40, width=6144)
default_hooks.report.sampling.update(cfg_scale=8.0, cfg_power=1.2, temperature=1.02)
paper = dict(rows=[], tokenizer='configs/baselines/maskgit_1k.py')
