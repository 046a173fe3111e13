"""XQ-GAN's schedule: 200 epochs at batch 1,024, up to 2.4e-4 in the first epoch, then down to 5e-5 along a cosine.

AdamW decays the discriminator alone, whose rate is 8e-4; nothing is clipped; a moving average is evaluated."""

from mmengine.config import read_base

with read_base():
    from .annealed_40e import *

from torch.optim import AdamW

from fvq_core.training.hooks import EMAHook

train_cfg.update(max_epochs=200)
optim_wrapper.update(
    optimizer=dict(type=AdamW, lr=2.4e-4, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    max_norm=None,
    parts=dict(discriminator=dict(optimizer=dict(lr=8e-4, weight_decay=5e-4))),
)
auto_scale_lr.update(base_batch_size=1024)
param_scheduler.update(warmup=0.005, warmup_factor=0.04, hold=0.0, decay='cosine', end_factor=0.21)
default_hooks.update(ema=dict(type=EMAHook, decay=0.9999))
