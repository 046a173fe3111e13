"""FVQ with all four: DINO discriminator from 80,000 iterations on, alignment with DINOv2-B, and ViT-B networks.

Score it with a network that is neither DINO nor DINOv2."""

from mmengine.config import read_base

with read_base():
    from .fvq_16k_dino import *

from fvq_core.autoencoders import QueryViTDecoder, QueryViTEncoder
from fvq_core.losses import FeatureAlignment

model.adversarial.update(start=80000)
model.alignment = dict(
    type=FeatureAlignment,
    model='vit_base_patch14_dinov2.lvd142m',
    weights='data/weights/dinov2_vitb14_pretrain.pth',
    width=256,
)
model.tokenizer.encoder = dict(type=QueryViTEncoder, z_channels=256)
model.tokenizer.decoder = dict(type=QueryViTDecoder, z_channels=256)
model.tokenizer.update(quant_kernel=0)
paper = None  # no row of the tables
