"""LDM-4's schedule: 178,000 steps of AdamW with batch 1,200, weight decay 0.01, no clipping, EMA 0.9999.

The constant rate of 1e-4 is not verified; the weight decay is torch's default, which the public code leaves as it is."""

from mmengine.config import read_base

with read_base():
    from .dit_7000k import *

train_cfg.update(max_iters=178_000)
optim_wrapper.optimizer.update(weight_decay=0.01)
default_hooks.update(checkpoint=dict(interval=5000))
default_hooks.report = dict(
    type=GeneratorReportHook, sampling=dict(cfg_scale=1.5, solver='ddim', eta=1.0, spacing='strided')
)
