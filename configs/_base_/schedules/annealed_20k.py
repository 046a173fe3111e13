"""20,000 iterations in bfloat16, evaluated at the end.

At batch 64 this is meant to take ten minutes or more a method on one large GPU; `tools/benchmark.py --steps` changes it for all
rows alike."""

from mmengine.config import read_base

with read_base():
    from .annealed import *

train_cfg = dict(type=TrainLoop, max_iters=20000, val_interval=0)
optim_wrapper.update(precision='bfloat16')
default_hooks.update(checkpoint=dict(interval=2000))
default_hooks.training_log.update(interval=100)
