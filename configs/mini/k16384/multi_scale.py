"""`mini/multi_scale.py` with 16,384 codes."""

from mmengine.config import read_base

with read_base():
    from ..multi_scale import *

model.tokenizer.quantizer.quantizer.update(codebook_size=16384)
