"""MAR-H: 942 M parameters, with guidance 3.2; see `mar_l.py`."""

from mmengine.config import read_base

with read_base():
    from .mar_l import *

model.generator.update(dim=1280, depth=20, heads=16, head_depth=12, head_width=1536)
default_hooks.report.sampling.update(cfg_scale=3.2)
paper = dict(
    rows=['t11.14'],
    tokenizer='configs/baselines/vae_mar.py',
    fid=1.55,
    inception_score=303.7,
    precision=0.81,
    recall=0.62,
)
