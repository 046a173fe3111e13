"""`mini/linear_no_anneal.py` with 16,384 codes."""

from mmengine.config import read_base

with read_base():
    from ..linear_no_anneal import *

model.tokenizer.quantizer.update(codebook_size=16384)
