"""`mini/vqgan_lc.py` with 4,096 codes; make the codebook with `--codebook-size 4096`."""

from mmengine.config import read_base

with read_base():
    from ..vqgan_lc import *

model.tokenizer.quantizer.update(codebook_size=4096)
model.tokenizer.quantizer.init.update(path='data/codebooks/mini_4096.safetensors')
