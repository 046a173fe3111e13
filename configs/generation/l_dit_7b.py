"""L-DiT-7B: 7.29 billion parameters; see `l_dit_3b.py`. 8 devices with 64 images each, 332 M images in all."""

from mmengine.config import read_base

with read_base():
    from .l_dit_3b import *

model.generator.update(dim=4096)
train_dataloader.update(batch_size=64)
train_cfg.update(max_iters=650_000)
paper = dict(
    rows=['t11.10'],
    tokenizer='configs/baselines/vae_sd_f8.py',
    fid=2.28,
    inception_score=316.2,
    precision=0.83,
    recall=0.58,
)
