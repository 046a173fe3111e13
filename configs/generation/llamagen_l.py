"""LlamaGen-L: 343 M parameters. Guidance as in the released launch."""

from mmengine.config import read_base

with read_base():
    from .llamagen_b import *

model.generator.update(dim=1024, depth=24, heads=16)
paper = dict(rows=['t11.25'], fid=3.81, inception_score=248.3, precision=0.83, recall=0.52)
