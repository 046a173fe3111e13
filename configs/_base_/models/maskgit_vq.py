"""MaskGIT's tokenizer (Chang et al., 2022): 1,024 codes, an entropy term, and a StyleGAN-like discriminator with R1.

The training loop and the perceptual network were never released: LPIPS stands in for the latter, at the released weight of
0.1. MaskGIT adds the discriminator's losses on real images and fakes where ours averages them, hence its weight of 2. Our
discriminator blurs with [1, 2, 1], MaskGIT's with [1, 3, 3, 1]."""

from mmengine.config import read_base

with read_base():
    from .vqgan import *

from fvq_core.autoencoders import MaskGITDecoder, MaskGITEncoder
from fvq_core.losses import NonSaturatingGANLoss
from fvq_core.losses.discriminators import StyleGANDiscriminator
from fvq_quantizers.inits import UniformInit
from fvq_quantizers.regularizers import EntropyRegularizer

model.tokenizer = dict(
    type=Tokenizer,
    encoder=dict(type=MaskGITEncoder),
    quantizer=dict(
        type=VectorQuantizer,
        codebook_size=1024,
        code_dim=256,
        init=dict(type=UniformInit, scale=(3 / 1024) ** 0.5),
        regularizer=dict(type=EntropyRegularizer, weight=0.1, temperature=0.01, eps=1e-5),
    ),
    decoder=dict(type=MaskGITDecoder),
    quant_kernel=0,
)
model.perceptual_loss.update(weight=0.1)
model.adversarial = dict(
    type=AdversarialLoss,
    discriminator=dict(type=StyleGANDiscriminator, image_size=256),
    loss=dict(type=NonSaturatingGANLoss),
    weight=0.1,
    discriminator_weight=2.0,
    start=0,
    r1=10.0,
)
