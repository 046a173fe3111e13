"""Open-MAGVIT2-B: 344 M parameters on 262,144 codes, each in two parts. 8 devices with 96 images each. FID 3.08 in its paper.

Not in any table of the paper. The release encodes a new random crop of each image each time; extract many."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.open_magvit2_transformer import *
    from .._base_.schedules.ibq_transformer_300e import *

train_dataloader.update(batch_size=96)
train_dataloader.dataset.update(root='data/codes/imagenet_open_magvit2_262k')
default_hooks.report.sampling.update(cfg_scale=1.9, second_cfg_scale=2.0)
paper = dict(rows=[], tokenizer='configs/baselines/open_magvit2_262k.py')
