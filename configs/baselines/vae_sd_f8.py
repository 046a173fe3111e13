"""Stable Diffusion's KL autoencoder (kl-f8 of Rombach et al., 2022): 4 channels at f = 8, which DiT and L-DiT model.

The recipe is that of `vae_sd.py`; the released `ft-ema` weights were trained further on LAION. A generator sees its latents times
0.18215."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_random_crop import *
    from .._base_.models.kl_f16 import *
    from .._base_.schedules.vqgan_1100k import *

from fvq_eval.metrics import PSNR, SSIM

model.tokenizer.update(latent_channels=4, latent_scale=0.18215)
model.tokenizer.encoder.update(ch_mult=(1, 2, 4, 4), z_channels=8)
model.tokenizer.decoder.update(ch_mult=(1, 2, 4, 4), z_channels=4)
train_cfg.update(max_iters=443000)
train_dataloader.update(batch_size=12)
train_dataloader.dataset.update(
    root='data/openimages/train',
    transforms=[dict(type=ADMRandomCrop, size=256, min_fraction=2 / 3, max_fraction=2 / 3, upsample=True)],
)
val_evaluator = [dict(type=PSNR), dict(type=SSIM)]
