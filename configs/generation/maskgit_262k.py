"""MaskGIT on Open-MAGVIT2's 262,144 codes, each as two numbers. Ours: nobody has published such a model.

The numbers are Open-MAGVIT2's own: the signs of the first 6 channels, and of the other 12. The head has 4,160 logits, the table as many vectors. Classes are dropped, so that guidance works."""

from mmengine.config import read_base

with read_base():
    from .maskgit import *

model.generator.update(factors=(64, 4096), cond_dropout=0.1)
model.generator.layout.update(codebook_size=262144)
train_dataloader.dataset.update(root='data/codes/imagenet_open_magvit2_262k')
default_hooks.report.sampling.update(cfg_scale=2.0)
paper = dict(rows=[], tokenizer='configs/baselines/open_magvit2_262k.py')
