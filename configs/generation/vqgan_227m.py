"""VQGAN's generator at 24 x 768: the 227 M parameters (with the tokenizer's) and FID of MaskGIT's authors, who trained it again.

Neither their code nor their recipe was published. Tokenizer and sizes are MaskGIT's, so are batch 256 (8 devices with 32 images
each), 300 epochs, rate and dropout; the optimizer is VQGAN's. docs/paper_notes.md tells more."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.min_gpt import *
    from .._base_.schedules.llamagen_300e import *

model.generator.update(token_dropout=0.1, attention_dropout=0.1, residual_dropout=0.1)
train_dataloader.dataset.update(root='data/codes/imagenet_maskgit_1k')
optim_wrapper.update(paramwise_cfg=dict(no_decay=['embedding']))
optim_wrapper.optimizer.update(weight_decay=0.01)
default_hooks.report.pop('sampling')
paper = dict(
    rows=['t11.19'],
    tokenizer='configs/baselines/maskgit_1k.py',
    fid=18.65,
    inception_score=80.4,
    precision=0.78,
    recall=0.26,
)
