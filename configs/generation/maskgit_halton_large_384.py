"""Halton-MaskGIT's large model at 384x384 pixels, 480 M parameters. In no table of the paper; a FID of 2.59 is published for it."""

from mmengine.config import read_base

with read_base():
    from .maskgit_halton_base import *

model.generator.layout.update(height=24, width=24)
model.generator.network.update(dim=1024, depth=24, heads=16)
train_dataloader.dataset.update(root='data/codes/imagenet_384_llamagen_16k')
default_hooks.report.sampling.update(cfg_scale=1.5)
paper = dict(rows=[])
