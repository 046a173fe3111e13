"""`mini/ema_restart.py` with 16,384 codes.

A batch has 4,096 latents, so a code that takes its share has a quarter of one a step: RQ-VAE's threshold of one restarts most codes
at every step."""

from mmengine.config import read_base

with read_base():
    from ..ema_restart import *

model.tokenizer.quantizer.update(codebook_size=16384)
