"""RAR's schedule: 250,000 iterations at batch 2,048, a quarter of them warm-up, then along a cosine to 1e-5.

Images are read in a random order for half of the run, then ever more of them in reading order; from three quarters on all are.
Tables do not decay."""

from mmengine.config import read_base

with read_base():
    from .llamagen_300e import *

from fvq_generators.hooks import RandomOrderHook

train_cfg = dict(type=TrainLoop, max_iters=250_000)
optim_wrapper.update(paramwise_cfg=dict(no_decay=['embedding', 'table']))
optim_wrapper.optimizer.update(lr=4e-4, betas=(0.9, 0.96), weight_decay=0.03)
auto_scale_lr.update(base_batch_size=2048)
param_scheduler.update(warmup=0.25, warmup_factor=0.0, hold=0, decay='cosine', end_factor=0.025)
default_hooks.update(random_order=dict(type=RandomOrderHook, start=0.5, end=0.75))
