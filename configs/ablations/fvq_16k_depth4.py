"""A bridge of 4 ViT blocks: figure 6, middle. (2 is `fvq_16k`.)"""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_16k import *

model.tokenizer.quantizer.projector.update(depth=4)
paper = dict(rows=[], figure=6)
