"""Halton-MaskGIT's schedule: 1,000,000 iterations of AdamW with a warm-up; the last tenth falls along a cosine.

Without a moving average, as released."""

from mmengine.config import read_base

with read_base():
    from .llamagen_300e import *

train_cfg = dict(type=TrainLoop, max_iters=1_000_000)
optim_wrapper.optimizer.update(betas=(0.9, 0.999), weight_decay=0.03)
param_scheduler.update(warmup=2500, warmup_factor=0.0, hold=0.9, decay='cosine', end_factor=0.01)
default_hooks.report.pop('sampling')
default_hooks.report.update(sampling=dict(order='halton', steps=32, cfg_scale=1.7))
