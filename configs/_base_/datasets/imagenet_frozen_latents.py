"""Latents of ImageNet's training set to train on, their means; evaluation on the images of the validation set."""

from mmengine.config import read_base

with read_base():
    from .imagenet_256 import *

from fvq_generators.data import CodesDataset

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    pin_memory=True,
    dataset=dict(type=CodesDataset, root='data/latents/imagenet_vae_sd', means=True),
)
