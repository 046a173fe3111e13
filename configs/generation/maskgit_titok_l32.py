"""TiTok-L-32's generator: 32 tokens an image. In no table of the paper; TiTok publishes a FID of 2.77.

Guidance is u + s (c - u) here; TiTok's "linear" 4.5 means c + 4.5 (c - u)."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.maskgit_titok import *
    from .._base_.schedules.titok_generator_500k import *

train_dataloader.update(batch_size=256)
train_dataloader.dataset.update(root='data/codes/imagenet_titok_l32')
default_hooks.report.sampling.update(
    choice='logit', temperature=1.3, final_temperature=0.5, choice_temperature=9.5,
    cfg_scale=5.5, cfg_schedule='linear',
)  # fmt: skip
paper = dict(rows=[], tokenizer='configs/baselines/titok_l32.py')
