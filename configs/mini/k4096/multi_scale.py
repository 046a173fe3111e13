"""`mini/multi_scale.py` with 4,096 codes."""

from mmengine.config import read_base

with read_base():
    from ..multi_scale import *

model.tokenizer.quantizer.quantizer.update(codebook_size=4096)
