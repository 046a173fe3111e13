"""`ema` with unused codes restarted from latents (RQ-VAE)."""

from mmengine.config import read_base

with read_base():
    from .ema import *

model.tokenizer.quantizer['update'].update(restart=True)
