"""Codes as moving averages of their latents, unused ones restarted. Ten times the rate of the codes is a decay of 0.9.

A step has one latent for each code, so a code restarts below a quarter of one, not below RQ-VAE's one: that is even use here."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.losses import VQLoss
from fvq_quantizers.updates import EMAUpdate

model.tokenizer.quantizer.update(
    loss=dict(type=VQLoss, beta=0.25, codebook_weight=0.0),
    update=dict(type=EMAUpdate, decay=0.99, restart=True, threshold=0.25),
)
sweep.row = dict(ema_restart={})
sweep.codes = dict(codes_1={}, codes_10={'model.tokenizer.quantizer.update.decay': 0.9})
