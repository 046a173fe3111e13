"""A bridge 512 wide: figure 6, left. (256 is `fvq_16k`.)"""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_16k import *

model.tokenizer.quantizer.projector.update(hidden_dim=512)
paper = dict(rows=[], figure=6)
