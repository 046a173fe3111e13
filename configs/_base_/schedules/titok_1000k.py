"""TiTok's schedule: a million iterations at batch 256, up to 1e-4 in the first 10,000, then down to a tenth along a cosine.

Weight decay spares norms, biases, codes and learned tokens; a moving average is evaluated. The release runs in float16."""

from mmengine.config import read_base

with read_base():
    from .annealed_40e import *

from torch.optim import AdamW

from fvq_core.training.hooks import EMAHook
from fvq_generators.optim import DecayByDimension

train_cfg = dict(type=TrainLoop, max_iters=1000000, val_interval=20000)
optim_wrapper.update(
    optimizer=dict(type=AdamW, lr=1e-4, betas=(0.9, 0.99), weight_decay=1e-4, fused=True),
    constructor=DecayByDimension,
    parts=dict(tokenizer=dict(paramwise_cfg=dict(no_decay=['positions', 'latent_tokens', 'embedding']))),
)
auto_scale_lr.update(base_batch_size=256)
param_scheduler.update(warmup=10000, warmup_factor=0.0, hold=0.0, decay='cosine', end_factor=0.1)
default_hooks.update(ema=dict(type=EMAHook, decay=0.999))
