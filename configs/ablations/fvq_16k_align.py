"""FVQ whose quantized latent is aligned with the features of DINOv2-B, by a head of three maps.

Weights are DINOv2's `dinov2_vitb14_pretrain.pth`. Score it with a network that is no DINOv2."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_16k import *

from fvq_core.losses import FeatureAlignment

model.alignment = dict(
    type=FeatureAlignment,
    model='vit_base_patch14_dinov2.lvd142m',
    weights='data/weights/dinov2_vitb14_pretrain.pth',
    width=256,
)
paper = None  # no row of the tables
