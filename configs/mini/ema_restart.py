"""`ema` with unused codes restarted from latents (RQ-VAE).

With 16,384 codes a batch has 4,096 latents, a quarter of one for each code and step: RQ-VAE's threshold of one restarts most
codes at every step."""

from mmengine.config import read_base

with read_base():
    from .ema import *

model.tokenizer.quantizer['update'].update(restart=True)
