"""IBQ-XXL: 2.1 B parameters, 450 epochs; the weight decay rises from 0.05 to 0.08 along a cosine. Not in any table of the paper."""

from mmengine.config import read_base

with read_base():
    from .ibq_xl import *

from mmengine.optim import CosineAnnealingParamScheduler

model.update(shard='bfloat16')
model.generator.update(dim=1920, depth=30, heads=30, gate_init=1e-5)
train_cfg.update(max_epochs=450)
param_scheduler = [
    dict(type=WarmupHoldDecayLR, warmup=0.02, hold=0.05, decay='linear', end_factor=0.01),
    dict(type=CosineAnnealingParamScheduler, param_name='weight_decay', eta_min_ratio=1.6, by_epoch=False),
]
default_hooks.report.sampling.update(cfg_scale=2.85, temperature=1.2)
paper = dict(rows=[], tokenizer='configs/baselines/ibq_16k_4res.py')
