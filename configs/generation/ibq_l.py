"""IBQ-L: 650 M parameters, 350 epochs."""

from mmengine.config import read_base

with read_base():
    from .ibq_b import *

model.generator.update(dim=1280, depth=20, heads=20)
train_cfg.update(max_epochs=350)
default_hooks.report.sampling.update(cfg_scale=2.0, temperature=1.0)
paper = dict(
    rows=['t11.29'],
    tokenizer='configs/baselines/ibq_16k_4res.py',
    fid=2.45,
    inception_score=267.5,
    precision=0.83,
    recall=0.52,
)
