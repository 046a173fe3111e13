"""BAR-B on the 262,144 codes of Open-MAGVIT2. 16 devices with 128 images each. Not measured."""

from mmengine.config import read_base

with read_base():
    from .bar_b import *

model.generator.layout.update(codebook_size=262144)
train_dataloader.dataset.update(root='data/codes/imagenet_open_magvit2_262k')
default_hooks.report.sampling.update(temperature=1.0, shares='')
paper = dict(rows=[], tokenizer='configs/baselines/open_magvit2_262k.py')
