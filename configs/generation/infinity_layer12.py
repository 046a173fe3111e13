"""Infinity of 12 blocks on 32 bits a position, conditioned on classes; self-correction quantizes a new crop of each image each time.

The release is trained on texts, and its schedule is not in the repository; this is VAR's. Guidance is not tuned. Not measured."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_288_random_crop import *
    from .._base_.models.infinity_layer12 import *
    from .._base_.schedules.var_200e import *

model.tokenizer = 'work_dirs/infinity_d32/tokenizer'
optim_wrapper.paramwise_cfg = dict(no_decay=['start', 'level_embedding'])
default_hooks.report.sampling = dict(cfg_scale=2.5)
