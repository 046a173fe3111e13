"""FVQ with the discriminator of VAR's authors, heads on a frozen DINO ViT-S/16, in place of the PatchGAN.

Its weights are DINO's `dino_deitsmall16_pretrain.pth`. Score it with a network that is no DINO."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_16k import *

from fvq_core.losses.adversarial import DiffAugment
from fvq_core.losses.discriminators import DINODiscriminator

model.adversarial.discriminator = dict(
    type=DINODiscriminator,
    model='vit_small_patch16_224.dino',
    weights='data/weights/dino_deitsmall16_pretrain.pth',
    depths=(-1, 2, 5, 8, 11),
    image_size=224,
    norm='batch',
    spectral=True,
)
model.adversarial.update(augment=dict(type=DiffAugment))
paper = None  # no row of the tables
