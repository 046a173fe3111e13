"""`mini/fvq_no_anneal.py` with 16,384 codes, 16 a token."""

from mmengine.config import read_base

with read_base():
    from ..fvq_no_anneal import *

model.tokenizer.quantizer.update(codebook_size=16384)
model.tokenizer.quantizer.projector.update(patch_size=16)
