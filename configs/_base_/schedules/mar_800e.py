"""MAR's schedule: 800 epochs at batch 2,048 and 8e-4, 100 of them warm-up, then constant; clipped at 3, EMA 0.9999.

Vectors and the whole head do not decay."""

from mmengine.config import read_base

with read_base():
    from .llamagen_300e import *

from fvq_core.training.hooks import EMAHook

train_cfg.update(max_epochs=800)
optim_wrapper.update(max_norm=3.0, paramwise_cfg=dict(no_decay=['head.']))
optim_wrapper.optimizer.update(lr=8e-4, weight_decay=0.02)
auto_scale_lr.update(base_batch_size=2048)
param_scheduler.update(warmup=0.125, warmup_factor=0.0)
default_hooks.update(
    ema=dict(type=EMAHook, decay=0.9999),
    report=dict(type=GeneratorReportHook, sampling=dict(cfg_scale=3.0)),
)
