"""`mini/vqgan_lc.py` with 16,384 codes; make the codebook with `--codebook-size 16384`."""

from mmengine.config import read_base

with read_base():
    from ..vqgan_lc import *

model.tokenizer.quantizer.update(codebook_size=16384)
model.tokenizer.quantizer.init.update(path='data/codebooks/mini_16384.safetensors')
