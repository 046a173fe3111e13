"""VQGAN-LC with 100,000 codes."""

from mmengine.config import read_base

with read_base():
    from .vqgan_lc_16k import *

model.tokenizer.quantizer.update(codebook_size=100000)
model.tokenizer.quantizer.init.update(path='data/codebooks/clip_vit_l14_100000.safetensors')
paper = dict(rows=['t1.8', 't8.10'], rfid_in1k=2.62, lpips=0.12, usage=99)
