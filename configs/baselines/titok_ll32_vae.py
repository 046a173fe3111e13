"""TiTok with continuous latents: 32 tokens of 16 channels, both halves large, in the single stage of `titok_bl128_single.py`."""

from mmengine.config import read_base

with read_base():
    from .titok_bl128_single import *

from fvq_core.autoencoders import KLAutoencoder
from fvq_eval.metrics import PSNR, SSIM

large = dict(width=1024, depth=24, heads=16, tokens=32)
model.tokenizer = dict(
    type=KLAutoencoder,
    encoder=dict(type=TiTokEncoder, **large, z_channels=32),
    decoder=dict(type=TiTokDecoder, **large, z_channels=16),
    latent_channels=16,
    kl_weight=1e-6,
    quant_kernel=0,
)
del large
val_evaluator = [dict(type=PSNR), dict(type=SSIM)]
optim_wrapper.parts.tokenizer.paramwise_cfg.update(no_decay=['positions', 'latent_tokens'])
