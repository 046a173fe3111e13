"""Open-MAGVIT2-XL: 1.5 B parameters, 350 epochs, FID 2.33 in its paper. Not in any table of the paper."""

from mmengine.config import read_base

with read_base():
    from .open_magvit2_b import *

model.update(shard='bfloat16')
model.generator.update(dim=1536, depth=48, inner_depth=4, heads=24)
train_cfg.update(max_epochs=350)
optim_wrapper.optimizer.update(lr=2.4e-4)
default_hooks.report.sampling.update(cfg_scale=1.75, second_cfg_scale=1.85, temperature=1.1)
paper = dict(rows=[], tokenizer='configs/baselines/open_magvit2_262k.py')
