"""TiTok-S-128's generator, a U-ViT of 295 M parameters: 128 tokens an image. In no table of the paper; TiTok publishes a FID of
1.97.

Its "power-cosine" guidance means u + s (c - u), as ours does."""

from mmengine.config import read_base

with read_base():
    from .maskgit_titok_l32 import *

from fvq_generators.masked import UViT

model.generator.layout.update(length=128)
model.generator.network = dict(type=UViT, dim=1024, depth=20, heads=16)
train_dataloader.dataset.update(root='data/codes/imagenet_titok_s128')
default_hooks.report.sampling.update(
    steps=64, choice_temperature=2.8, cfg_scale=6.9, cfg_schedule='cosine', cfg_power=3.0
)
paper = dict(rows=[], tokenizer='configs/baselines/titok_s128.py')
