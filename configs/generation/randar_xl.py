"""RandAR-XL: 775 M parameters. The released file has FID 2.27 at guidance 4.0."""

from mmengine.config import read_base

with read_base():
    from .randar_l import *

model.generator.update(dim=1280, depth=36, heads=20)
default_hooks.report.sampling.update(cfg_scale=4.0)
paper = dict(
    rows=['t11.23'],
    tokenizer='configs/baselines/llamagen_16k.py',
    fid=2.25,
    inception_score=317.8,
    precision=0.80,
    recall=0.60,
)
