"""`ema_kmeans` with unused codes restarted from latents, as in `ema_restart`."""

from mmengine.config import read_base

with read_base():
    from .ema_kmeans import *

model.tokenizer.quantizer['update'].update(restart=True)
