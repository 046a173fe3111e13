"""FVQ with 4,096 codes, 4 to a token, the best patch at this size: figure 6, right."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_16k import *

model.tokenizer.quantizer.update(codebook_size=4096)
model.tokenizer.quantizer.projector.update(patch_size=4)
paper = dict(rows=[], figure=6)
