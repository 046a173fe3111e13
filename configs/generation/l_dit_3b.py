"""L-DiT-3B, which has 4.24 billion parameters, on latents of Stable Diffusion's autoencoder. 8 devices with 32 images each.

The weights, gradients and optimizer state are split over the devices. The table's model saw 435 M images; the guidance of its FID
was not published."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_latents import *
    from .._base_.models.dit import *
    from .._base_.schedules.dit_7000k import *

from fvq_generators import LargeDiT

model.generator = dict(type=LargeDiT, layout=model.generator.layout, num_classes=1000, dim=3072, depth=32, heads=32)
model.shard = 'bfloat16'
train_cfg.update(max_iters=1_700_000)
optim_wrapper.update(max_norm=2.0)
paper = dict(
    rows=['t11.9'],
    tokenizer='configs/baselines/vae_sd_f8.py',
    fid=2.10,
    inception_score=304.4,
    precision=0.82,
    recall=0.60,
)
