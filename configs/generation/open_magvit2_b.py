"""Open-MAGVIT2-B: 344 M parameters on 262,144 codes, each in two parts. 8 devices with 96 images each. FID 3.08 in its paper.

Not in any table of the paper. As in the release, codes are made of a new random crop of each image each time; see `ibq_b`."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_random_crop_images import *
    from .._base_.models.open_magvit2_transformer import *
    from .._base_.schedules.ibq_transformer_300e import *

model.tokenizer = 'work_dirs/open_magvit2_262k/tokenizer'
default_hooks.report.sampling.update(cfg_scale=1.9, second_cfg_scale=2.0)
paper = dict(rows=[], tokenizer='configs/baselines/open_magvit2_262k.py')
