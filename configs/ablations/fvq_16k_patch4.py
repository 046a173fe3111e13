"""4 codes a token: figure 6, right. (16 is `fvq_16k`.)"""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_16k import *

model.tokenizer.quantizer.projector.update(patch_size=4)
paper = dict(rows=[], figure=6)
