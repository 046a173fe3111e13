"""LlamaGen-XXL: 1.4 B parameters, sharded over the devices. Guidance as in the released launch."""

from mmengine.config import read_base

with read_base():
    from .llamagen_b import *

model.update(shard='bfloat16')
model.generator.update(dim=1536, depth=48, heads=24)
default_hooks.report.sampling.update(cfg_scale=1.75)
paper = dict(rows=['t11.27'], fid=3.09, inception_score=253.6, precision=0.83, recall=0.53)
