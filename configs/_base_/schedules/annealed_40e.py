"""Table 6's schedule on ImageNet: 40 epochs, bfloat16; the learning rate follows the batch by itself."""

from mmengine.config import read_base

with read_base():
    from .annealed import *

train_cfg = dict(type=TrainLoop, max_epochs=40, val_interval=20000)
optim_wrapper.update(precision='bfloat16')
auto_scale_lr = dict(enable=True, base_batch_size=128)
default_hooks.update(checkpoint=dict(interval=5000))
default_hooks.training_log.update(interval=50)
