"""1,600 iterations at 3e-4 in bfloat16, evaluated at the end; `tools/benchmark.py --lengths` changes their number."""

from mmengine.config import read_base

with read_base():
    from .annealed import *

train_cfg = dict(type=TrainLoop, max_iters=1600, val_interval=0)
optim_wrapper.update(precision='bfloat16')
optim_wrapper.optimizer.update(lr=3e-4)
default_hooks.update(checkpoint=dict(interval=200))
default_hooks.training_log.update(interval=20)
