"""MaskGIT on the codes of its own tokenizer; table 11's 227M are 172 M of the transformer and 55 M of the tokenizer.

8 steps, as the published numbers; the released code takes 16 and gives a FID of 6.06."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.maskgit import *
    from .._base_.schedules.maskgit_2000k import *

train_dataloader.dataset.update(root='data/codes/imagenet_maskgit_1k')
paper = dict(
    rows=['t11.11'],
    tokenizer='configs/baselines/maskgit_1k.py',
    fid=6.18,
    inception_score=182.1,
    precision=0.80,
    recall=0.51,
)
