"""LlamaGen-3B: 3.1 B parameters, sharded over the devices. Guidance as in the released launch."""

from mmengine.config import read_base

with read_base():
    from .llamagen_b import *

model.update(shard='bfloat16')
model.generator.update(dim=3200, depth=24, heads=32)
default_hooks.report.sampling.update(cfg_scale=1.65)
