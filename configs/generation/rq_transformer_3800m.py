"""RQ-Transformer with 3.8 B parameters, whose FID of 7.55 is without rejection of samples. 32 devices with 64 images each."""

from mmengine.config import read_base

with read_base():
    from .rq_transformer_480m import *

model.update(shard='bfloat16')
model.generator.update(dim=2560, depth=42, head_depth=6, heads=40)
train_dataloader.update(batch_size=64)
paper = dict(rows=['t11.21'], tokenizer='configs/baselines/rqvae_50e.py', fid=7.55, inception_score=134.0)
