"""`mini/multi_scale_fvq.py` with 16,384 codes, 16 a token."""

from mmengine.config import read_base

with read_base():
    from ..multi_scale_fvq import *

model.tokenizer.quantizer.quantizer.update(codebook_size=16384)
model.tokenizer.quantizer.quantizer.projector.update(patch_size=16)
