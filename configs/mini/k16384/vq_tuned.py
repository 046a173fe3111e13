"""`mini/vq_tuned.py` with 16,384 codes."""

from mmengine.config import read_base

with read_base():
    from ..vq_tuned import *

model.tokenizer.quantizer.update(codebook_size=16384)
