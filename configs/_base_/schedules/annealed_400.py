"""400 iterations at 1e-3, evaluated in the middle and at the end: for the bundled photos."""

from mmengine.config import read_base

with read_base():
    from .annealed import *

train_cfg = dict(type=TrainLoop, max_iters=400, val_interval=200)
optim_wrapper.optimizer.update(lr=1e-3)
default_hooks.update(checkpoint=dict(interval=100))
