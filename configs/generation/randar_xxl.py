"""RandAR-XXL: 1.4 B parameters. Neither config nor weights nor guidance were released; these are those of XL."""

from mmengine.config import read_base

with read_base():
    from .randar_xl import *

model.update(shard='bfloat16')
model.generator.update(dim=1536, depth=48, heads=24)
paper = dict(
    rows=['t11.24'],
    tokenizer='configs/baselines/llamagen_16k.py',
    fid=2.15,
    inception_score=321.9,
    precision=0.79,
    recall=0.60,
)
