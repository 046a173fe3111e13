"""A small KL autoencoder on ten bundled photographs, with the budget, losses and rate of `fvq/fvq_photos.py`; 4 channels, f = 4."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_photos import *

from fvq_core.autoencoders import KLAutoencoder
from fvq_eval.metrics import PSNR, SSIM

model.tokenizer = dict(
    type=KLAutoencoder,
    encoder=dict(model.tokenizer.encoder, z_channels=8),
    decoder=dict(model.tokenizer.decoder, z_channels=4),
    latent_channels=4,
    kl_weight=1e-6,
    latent_scale=0.57,  # its latents have a standard deviation of 1.75
)
val_evaluator = [dict(type=PSNR), dict(type=SSIM)]
