"""UniTok's schedule: 1.28 billion images once at batch 16,384, up to 5e-4 in 1 % of the run, then a cosine to a tenth of it.

Those were DataComp-1B's; on ImageNet it is as many iterations, about a thousand epochs."""

from mmengine.config import read_base

with read_base():
    from .annealed_40e import *

from torch.optim import AdamW

from fvq_core.training.hooks import EMAHook

train_cfg = dict(type=TrainLoop, max_iters=78125, val_interval=10000)
optim_wrapper.update(
    optimizer=dict(type=AdamW, lr=5e-4, betas=(0.9, 0.95), eps=1e-6, weight_decay=0.02, fused=True),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(q_bias=dict(decay_mult=0.0), v_bias=dict(decay_mult=0.0)),
    ),
    max_norm=10.0,
    parts=dict(discriminator=dict(optimizer=dict(lr=2e-5, betas=(0.5, 0.9), weight_decay=0.2))),
)
auto_scale_lr.update(base_batch_size=16384)
param_scheduler.update(warmup=0.01, warmup_factor=0.0, hold=0.0, decay='cosine', end_factor=0.1)
default_hooks.update(ema=dict(type=EMAHook, decay=0.9999))
