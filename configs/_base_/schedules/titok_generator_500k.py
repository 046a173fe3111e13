"""TiTok's schedule for generators: 500,000 iterations of AdamW with a moving average, cosine to a twentieth of the rate.

The batch is 2,048: 8 devices with 256 images each. The release lets no embedding decay."""

from mmengine.config import read_base

with read_base():
    from .maskgit_2000k import *

train_cfg.update(max_iters=500_000)
optim_wrapper.update(paramwise_cfg=dict(no_decay=['codes.table', 'condition.table', 'positions']))
optim_wrapper.optimizer.update(lr=2e-4, weight_decay=0.03)
param_scheduler.update(warmup=10_000, hold=0, decay='cosine', end_factor=0.05)
default_hooks.report.pop('sampling')
default_hooks.report.update(sampling=dict(steps=8))
