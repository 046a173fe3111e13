"""`mini/fsq.py` with levels 7, 5, 5, 5, 5, that is 4,375 codes."""

from mmengine.config import read_base

with read_base():
    from ..fsq import *

model.tokenizer.quantizer.update(levels=(7, 5, 5, 5, 5))
