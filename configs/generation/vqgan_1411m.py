"""VQGAN's own generator of ImageNet: 48 x 1536, 1.4 B parameters, on 16,384 codes. Not in any table of the paper.

CompVis report FID 15.8, and 5.2 if a classifier rejects 95 % of the samples. Batch and epochs of the released file are not
known; the rate is their rule, 4.5e-6 for each image of a batch. Sampling as in their README."""

from mmengine.config import read_base

with read_base():
    from .vqgan_227m import *

model.update(shard='bfloat16')
model.generator.update(dim=1536, depth=48, heads=24, token_dropout=0.0, attention_dropout=0.0, residual_dropout=0.0)
model.generator.layout.update(codebook_size=16384)
train_dataloader.dataset.update(root='data/codes/imagenet_vqgan_16k')
auto_scale_lr.update(enable=True)
optim_wrapper.optimizer.update(lr=1.152e-3)
default_hooks.report.update(sampling=dict(top_k=600, top_p=0.92))
paper = dict(rows=[], tokenizer='configs/baselines/vqgan_16k.py')
