"""GigaTok's schedule: a million iterations, from 1e-4 down to 1e-5 along a cosine, whatever the batch.

AdamW decays everything by 1e-4; gradients are clipped at 10. The release runs all but its largest model in float16."""

from mmengine.config import read_base

with read_base():
    from .annealed_40e import *

from torch.optim import AdamW

train_cfg = dict(type=TrainLoop, max_iters=1000000, val_interval=20000)
optim_wrapper.update(
    optimizer=dict(type=AdamW, lr=1e-4, betas=(0.9, 0.95), weight_decay=1e-4, fused=True),
    max_norm=10.0,
)
auto_scale_lr.update(enable=False)
param_scheduler.update(warmup=0, hold=0.0, decay='cosine', end_factor=0.1)
