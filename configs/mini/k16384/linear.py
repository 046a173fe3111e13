"""`mini/linear.py` with 16,384 codes."""

from mmengine.config import read_base

with read_base():
    from ..linear import *

model.tokenizer.quantizer.update(codebook_size=16384)
