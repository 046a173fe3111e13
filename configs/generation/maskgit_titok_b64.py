"""TiTok-B-64's generator: 64 tokens an image. In no table of the paper; TiTok publishes a FID of 2.48."""

from mmengine.config import read_base

with read_base():
    from .maskgit_titok_l32 import *

model.generator.layout.update(length=64)
train_dataloader.dataset.update(root='data/codes/imagenet_titok_b64')
default_hooks.report.sampling.update(choice_temperature=11.0, cfg_scale=4.0)
paper = dict(rows=[], tokenizer='configs/baselines/titok_b64.py')
