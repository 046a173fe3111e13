"""`mini/product.py` with 4 x 4,096 codes."""

from mmengine.config import read_base

with read_base():
    from ..product import *

model.tokenizer.quantizer.quantizer.update(codebook_size=4096)
