"""`mini/llamagen.py` with 16,384 codes."""

from mmengine.config import read_base

with read_base():
    from ..llamagen import *

model.tokenizer.quantizer.update(codebook_size=16384)
