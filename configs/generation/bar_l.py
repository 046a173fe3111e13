"""BAR-L: 1.1 B parameters, FID 0.99 in its paper. 32 devices with 64 images each."""

from mmengine.config import read_base

with read_base():
    from .bar_b import *

model.generator.update(dim=1280, depth=32, heads=16, dropout=0.2)
train_dataloader.update(batch_size=64)
default_hooks.report.sampling.update(cfg_scale=5.3, temperature=3.0)
