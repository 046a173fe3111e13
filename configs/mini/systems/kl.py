"""A KL autoencoder: the network of `cnn_fvq` around 16 x 16 continuous latents of 4 channels, which have no number of bits."""

from mmengine.config import read_base

with read_base():
    from ..vq import *

from fvq_core.autoencoders import KLAutoencoder
from fvq_eval.metrics import PSNR, SSIM

model.tokenizer = dict(
    type=KLAutoencoder,
    encoder=dict(model.tokenizer.encoder, z_channels=8),
    decoder=dict(model.tokenizer.decoder, z_channels=4),
    latent_channels=4,
    kl_weight=1e-6,
)
val_evaluator = [dict(type=PSNR), dict(type=SSIM)]
