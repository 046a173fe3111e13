"""XQ-GAN with two codes of 4,096 at each position of ten scales up to 11 x 11 (286 in all): its `MSVR10P2-4096`, ImageFolder.

Codes are chosen by cosine and added raw. Its commitment term is a sum over scales. In training a tenth of the images lose
scales, but keep three."""

from mmengine.config import read_base

with read_base():
    from .xqgan_4k import *

from fvq_quantizers import MultiScaleQuantizer, ProductQuantizer
from fvq_quantizers.distances import DotProduct
from fvq_quantizers.losses import VQLoss
from fvq_quantizers.normalizations import CosineSearch

model.tokenizer.encoder.update(groups=2, z_channels=32, latent_size=11)
model.tokenizer.decoder.update(groups=2, z_channels=32, latent_size=11)
model.tokenizer.quantizer = dict(
    type=ProductQuantizer,
    quantizer=dict(
        type=MultiScaleQuantizer,
        quantizer=dict(
            type=VectorQuantizer,
            codebook_size=4096,
            code_dim=32,
            normalize=dict(type=CosineSearch),
            distance=dict(type=DotProduct),
            loss=dict(type=VQLoss, beta=2.5),
        ),
        scales=(1, 1, 2, 3, 3, 4, 5, 6, 8, 11),
        num_phi=4,
        dropout=0.1,
        fewest_scales=3,
    ),
    groups=2,
)
