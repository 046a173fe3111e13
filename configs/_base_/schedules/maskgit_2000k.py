"""MaskGIT's schedule for transformers: 2,000,000 iterations of AdamW with a warm-up and a moving average.

Its training code was never released. No decay of the learning rate is known."""

from mmengine.config import read_base

with read_base():
    from .llamagen_300e import *

from fvq_core.training.hooks import EMAHook

train_cfg = dict(type=TrainLoop, max_iters=2_000_000)
optim_wrapper.optimizer.update(betas=(0.9, 0.96), weight_decay=0.045)
param_scheduler.update(warmup=5000, warmup_factor=0.0)
default_hooks.update(ema=dict(type=EMAHook, decay=0.999))
default_hooks.report.pop('sampling')
default_hooks.report.update(sampling=dict(steps=8, choice_temperature=4.5))
