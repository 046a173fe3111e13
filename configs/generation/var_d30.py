"""VAR-d30: 2.01 B parameters, 350 epochs at batch 1,024 (8 devices with 128 images each); weight decay rises from 0.05 to 0.08.

The README of the release has an FID of 1.97 for its file."""

from mmengine.config import read_base

with read_base():
    from .var_d24 import *

from mmengine.optim import CosineAnnealingParamScheduler

model.update(shard='bfloat16')
model.generator.update(dim=1920, depth=30, heads=30, drop_path=0.1 * 30 / 24, gate_init=1e-5)
train_dataloader.update(batch_size=128)
param_scheduler = [
    param_scheduler,
    dict(type=CosineAnnealingParamScheduler, param_name='weight_decay', eta_min_ratio=1.6, by_epoch=False),
]
paper = dict(
    rows=['t11.18'],
    tokenizer='configs/baselines/var_4k.py',
    fid=1.92,
    inception_score=323.1,
    precision=0.82,
    recall=0.59,
)
