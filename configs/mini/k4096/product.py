"""`mini/product.py` with 4 x 1,024 codes."""

from mmengine.config import read_base

with read_base():
    from ..product import *

model.tokenizer.quantizer.quantizer.update(codebook_size=1024)
