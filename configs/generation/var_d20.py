"""VAR-d20: 601 M parameters, 250 epochs. The README of the release has an FID of 2.95 for its file."""

from mmengine.config import read_base

with read_base():
    from .var_d16 import *

model.generator.update(dim=1280, depth=20, heads=20, drop_path=0.1 * 20 / 24)
train_cfg.update(max_epochs=250)
paper = dict(
    rows=['t11.16'],
    tokenizer='configs/baselines/var_4k.py',
    fid=2.57,
    inception_score=302.6,
    precision=0.83,
    recall=0.56,
)
