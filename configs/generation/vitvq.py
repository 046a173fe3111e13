"""ViT-VQGAN's larger second stage, 450,000 iterations at batch 1,024 (32 devices with 32 images each).

Nothing was released. Blocks are those of the unofficial code; sizes, batch, length, rate, decay and dropout are meant to be the paper's
but were not checked against its text, and the rate falls along a cosine instead of exponentially (docs/paper_notes.md)."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.vitvq_transformer import *
    from .._base_.schedules.llamagen_300e import *

model.update(shard='bfloat16')
train_dataloader.dataset.update(root='data/codes/imagenet_vit_vqgan_large')
train_cfg = dict(type=TrainLoop, max_iters=450_000)
optim_wrapper.optimizer.update(lr=4.5e-4, betas=(0.9, 0.96), weight_decay=0.045)
param_scheduler.update(warmup=5000, hold=75_000, decay='cosine', end_factor=0.022)
default_hooks.report.pop('sampling')
paper = dict(rows=['t11.20'], tokenizer='configs/baselines/vit_vqgan_large.py', fid=4.17, inception_score=175.1)
