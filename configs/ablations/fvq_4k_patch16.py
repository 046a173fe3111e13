"""FVQ with 4,096 codes, 16 to a token: figure 6, right."""

from mmengine.config import read_base

with read_base():
    from .fvq_4k import *

model.tokenizer.quantizer.projector.update(patch_size=16)
paper = dict(rows=[], figure=6)
