"""XQ-GAN (Li et al., 2024) with one code at each of 16 x 16 positions: 4,096 unit codes of 64 channels between two ViT-B.

The discriminator has heads on DINO ViT-S/16 and starts with epoch 56 of 200. The release starts both transformers from
DINOv2-B, whose branches have a factor of 1e-5 at first; from random weights, as here, it is 1."""

from mmengine.config import read_base

with read_base():
    from .vqgan import *

from fvq_core.autoencoders import QueryViTDecoder, QueryViTEncoder
from fvq_core.losses.adversarial import DiffAugment
from fvq_core.losses.discriminators import DINODiscriminator
from fvq_quantizers.normalizations import L2Normalize

model.tokenizer = dict(
    type=Tokenizer,
    encoder=dict(type=QueryViTEncoder, z_channels=64, drop_path=0.1),
    quantizer=dict(type=VectorQuantizer, codebook_size=4096, code_dim=64, normalize=dict(type=L2Normalize)),
    decoder=dict(type=QueryViTDecoder, z_channels=64, drop_path=0.1),
    quant_kernel=0,
)
model.adversarial.discriminator = dict(
    type=DINODiscriminator,
    model='vit_small_patch16_224.dino',
    weights='data/weights/dino_deitsmall16_pretrain.pth',
    depths=(-1, 2, 5, 8, 11),
    image_size=224,
    norm='batch',
    spectral=True,
)
model.adversarial.update(augment=dict(type=DiffAugment), adaptive=True, lecam=0.0005, start=70056)
