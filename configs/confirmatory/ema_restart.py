"""Codes as moving averages of their latents, unused ones restarted. Ten times the rate of the codes is a decay of 0.9.

A restart replaces what a start left unused at the first step, so in place of two of the four starts stand two thresholds: RQ-VAE's
one latent a step, which is even use here, and a quarter of it."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.losses import VQLoss
from fvq_quantizers.updates import EMAUpdate

model.tokenizer.quantizer.update(
    loss=dict(type=VQLoss, beta=0.25, codebook_weight=0.0),
    update=dict(type=EMAUpdate, decay=0.99, restart=True),
)
init, threshold = 'model.tokenizer.quantizer.init', 'model.tokenizer.quantizer.update.threshold'
normal, kmeans = dict(type='NormalInit', std=1.0), dict(type='KMeansInit')
sweep.row = dict(ema_restart={})
sweep.start = dict(
    normal={init: normal},
    kmeans={init: kmeans},
    normal_quarter={init: normal, threshold: 0.25},
    kmeans_quarter={init: kmeans, threshold: 0.25},
)
sweep.codes = dict(codes_1={}, codes_10={'model.tokenizer.quantizer.update.decay': 0.9})
del init, threshold, normal, kmeans
