"""LDM-4-G: 401 M parameters, on latents of VQGAN's f = 4 tokenizer before they are quantized. 8 devices with 150 images each.

Extract them with `tools/extract_codes.py --unquantized`. The published FID of 3.60 is of 250 steps of DDIM with eta 1, guided by
1.5; others measure 3.54 so. Needs the extra `diffusers`: pip install "fvq-generators[diffusers]"."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_latents import *
    from .._base_.models.ldm_4 import *
    from .._base_.schedules.ldm_178k import *

train_dataloader.update(batch_size=150)
train_dataloader.dataset.update(root='data/latents/imagenet_vqgan_sd_f4')
paper = dict(rows=['t11.6'], tokenizer='configs/baselines/vqgan_sd_f4.py', fid=3.60, inception_score=247.7)
