"""DiT's schedule: 7 million steps of AdamW at a constant 1e-4, no warm-up, no weight decay, no clipping, EMA 0.9999."""

from mmengine.config import read_base

with read_base():
    from .llamagen_300e import *

from fvq_core.training.hooks import EMAHook

train_cfg = dict(type=TrainLoop, max_iters=7_000_000)
optim_wrapper.update(max_norm=None)
optim_wrapper.optimizer.update(betas=(0.9, 0.999), weight_decay=0.0)
default_hooks.update(
    checkpoint=dict(interval=50_000),
    ema=dict(type=EMAHook, decay=0.9999),
    report=dict(type=GeneratorReportHook, sampling=dict(cfg_scale=1.5, cfg_channels=3)),
)
