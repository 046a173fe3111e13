"""RAR-B: 261 M parameters, FID 1.95 in its paper. 32 devices with 64 images each. Not in any table of the paper."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.rar import *
    from .._base_.schedules.rar_250k import *

train_dataloader.update(batch_size=64)
train_dataloader.dataset.update(root='data/codes/imagenet_maskgit_1k')
default_hooks.report.sampling.update(cfg_scale=16.0, cfg_power=2.75)
paper = dict(rows=[], tokenizer='configs/baselines/maskgit_1k.py')
