"""`ema_restart` with codes that restart below a quarter of a latent a step, for runs with as few latents as codes.

With four latents a code, as here, RQ-VAE's threshold of one is a quarter of even use; with one latent a code (crops of 32x32) it
is even use itself, and this row is the one to compare with."""

from mmengine.config import read_base

with read_base():
    from .ema_restart import *

model.tokenizer.quantizer['update'].update(threshold=0.25)
