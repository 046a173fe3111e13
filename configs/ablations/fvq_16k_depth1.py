"""A bridge of 1 ViT block: figure 6, middle. (2 is `fvq_16k`.)"""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_16k import *

model.tokenizer.quantizer.projector.update(depth=1)
paper = dict(rows=[], figure=6)
