"""VAR-d24: 1.03 B parameters, 350 epochs. The README of the release has an FID of 2.33 for its file."""

from mmengine.config import read_base

with read_base():
    from .var_d16 import *

model.generator.update(dim=1536, depth=24, heads=24, drop_path=0.1, gate_init=1e-4)
train_cfg.update(max_epochs=350)
optim_wrapper.optimizer.update(lr=8e-5)
param_scheduler.update(end_factor=0.01)
paper = dict(
    rows=['t11.17'],
    tokenizer='configs/baselines/var_4k.py',
    fid=2.09,
    inception_score=321.9,
    precision=0.82,
    recall=0.59,
)
