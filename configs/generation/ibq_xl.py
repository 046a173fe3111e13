"""IBQ-XL: 1.1 B parameters, 400 epochs."""

from mmengine.config import read_base

with read_base():
    from .ibq_b import *

model.generator.update(dim=1536, depth=24, heads=24, gate_init=1e-4)
train_cfg.update(max_epochs=400)
param_scheduler.update(end_factor=0.01)
default_hooks.report.sampling.update(cfg_scale=2.35, temperature=1.15)
paper = dict(
    rows=['t11.30'],
    tokenizer='configs/baselines/ibq_16k_4res.py',
    fid=2.14,
    inception_score=279.0,
    precision=0.83,
    recall=0.56,
)
