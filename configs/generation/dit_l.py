"""DiT-L/2: 458 M parameters; see `dit_xl.py`. Neither weights nor the guidance of its FID were published."""

from mmengine.config import read_base

with read_base():
    from .dit_xl import *

model.generator.update(dim=1024, depth=24, heads=16)
paper = dict(
    rows=['t11.7'],
    tokenizer='configs/baselines/vae_sd_f8.py',
    fid=5.02,
    inception_score=167.2,
    precision=0.75,
    recall=0.57,
)
