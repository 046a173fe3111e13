"""LlamaGen-XL: 775 M parameters. Guidance as in the released launch."""

from mmengine.config import read_base

with read_base():
    from .llamagen_b import *

model.generator.update(dim=1280, depth=36, heads=20)
default_hooks.report.sampling.update(cfg_scale=1.75)
paper = dict(rows=['t11.26'], fid=3.39, inception_score=227.1, precision=0.81, recall=0.54)
