"""The published schedule of MaskGIT's tokenizer: a million iterations at batch 256 and a constant 1e-4, float32, moving average."""

from mmengine.config import read_base

with read_base():
    from .annealed_40e import *

from fvq_core.training.hooks import EMAHook

train_cfg = dict(type=TrainLoop, max_iters=1000000, val_interval=20000)
optim_wrapper = dict(
    type=ClippedOptimWrapper,
    optimizer=dict(type=Adam, lr=1e-4, betas=(0.0, 0.99), fused=True),
    max_norm=None,
)
auto_scale_lr.update(base_batch_size=256)
param_scheduler.update(warmup=0, decay='none')
default_hooks.update(ema=dict(type=EMAHook, decay=0.999))
