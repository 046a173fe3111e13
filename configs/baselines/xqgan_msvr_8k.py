"""XQ-GAN with two codes of 8,192 at each position of ten scales: its `MSVR10P2-8192`."""

from mmengine.config import read_base

with read_base():
    from .xqgan_msvr_4k import *

model.tokenizer.quantizer.quantizer.quantizer.update(codebook_size=8192)
