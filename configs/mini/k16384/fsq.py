"""`mini/fsq.py` with levels 8, 8, 8, 6, 5, that is 15,360 codes."""

from mmengine.config import read_base

with read_base():
    from ..fsq import *

model.tokenizer.quantizer.update(levels=(8, 8, 8, 6, 5))
