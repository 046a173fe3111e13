"""VQGAN's schedule (Esser et al., 2021): a constant learning rate of 4.5e-6 a sample of the batch; no clipping, float32.

The released file does not say how long it trained; 1.1 M iterations is what its successor (VQGAN-SD) reports. The published
models were trained on one device, so launch these rows on one: more devices train at a larger batch and rate, unless
`train_dataloader.batch_size` is divided by their number."""

from mmengine.config import read_base

with read_base():
    from .annealed_40e import *

train_cfg = dict(type=TrainLoop, max_iters=1100000, val_interval=20000)
optim_wrapper = dict(
    type=ClippedOptimWrapper,
    optimizer=dict(type=Adam, lr=4.5e-6, betas=(0.5, 0.9), fused=True),
    max_norm=None,
)
auto_scale_lr.update(base_batch_size=1)
param_scheduler.update(warmup=0, decay='none')
