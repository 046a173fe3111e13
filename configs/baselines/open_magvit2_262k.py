"""Open-MAGVIT2 with 18 bits: 262,144 codes."""

from mmengine.config import read_base

with read_base():
    from .open_magvit2_16k import *

model.tokenizer.encoder.update(z_channels=18)
model.tokenizer.quantizer.update(codebook_size=262144)
model.tokenizer.decoder.update(z_channels=18)
paper = dict(rows=['t8.12'], rfid_in1k=1.17, lpips=0.20, usage=100)
