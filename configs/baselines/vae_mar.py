"""MAR's KL autoencoder (Li et al., 2024): kl-f16's recipe on ImageNet at batch 256, and no attention in the decoder's levels.

The batch is 8 devices with 32 images each. A generator sees its latents times 0.2325. Neither length nor crops were published:
they are VAE-SD's length and VQGAN's crops."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_random_crop import *
    from .._base_.models.kl_f16 import *
    from .._base_.schedules.vqgan_1100k import *

from fvq_eval.metrics import PSNR, SSIM

model.tokenizer.update(latent_scale=0.2325)
model.tokenizer.decoder.update(attention=[])
train_cfg.update(max_iters=443000)
optim_wrapper.optimizer.update(lr=1e-4)
auto_scale_lr.update(base_batch_size=256)
val_evaluator = [dict(type=PSNR), dict(type=SSIM)]
paper = dict(rows=['t8.2'], rfid_in1k=1.22)
