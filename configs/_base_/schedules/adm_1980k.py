"""ADM's schedule: 1.98 million steps of AdamW at a constant 1e-4, no warm-up, no weight decay, no clipping, EMA 0.9999."""

from mmengine.config import read_base

with read_base():
    from .dit_7000k import *

train_cfg.update(max_iters=1_980_000)
default_hooks.report = dict(type=GeneratorReportHook)
