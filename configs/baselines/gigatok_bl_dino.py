"""GigaTok B-L with a discriminator on DINO ViT-S/16 from 80,000 iterations on, in place of the PatchGAN from 20,000 on."""

from mmengine.config import read_base

with read_base():
    from .gigatok_bl import *

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
model.adversarial.update(augment=dict(type=DiffAugment), start=80000)
