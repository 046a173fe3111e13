"""Latent diffusion's KL autoencoder at f = 16 (kl-f16 of Rombach et al., 2022): 16 continuous channels, on OpenImages.

Put OpenImages, or a link to it, at `data/openimages/train`. Images are resized to a short side of 384 and cropped to 256. The
release has 6 images a device and 442,998 steps, and does not say on how many devices."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_random_crop import *
    from .._base_.models.kl_f16 import *
    from .._base_.schedules.vqgan_1100k import *

from fvq_eval.metrics import PSNR, SSIM

train_cfg.update(max_iters=443000)
train_dataloader.update(batch_size=6)
train_dataloader.dataset.update(
    root='data/openimages/train',
    transforms=[dict(type=ADMRandomCrop, size=256, min_fraction=2 / 3, max_fraction=2 / 3, upsample=True)],
)
val_evaluator = [dict(type=PSNR), dict(type=SSIM)]
paper = dict(rows=['t8.1'], rfid_in1k=0.87)
