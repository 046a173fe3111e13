"""ViT-VQGAN base (Yu et al., 2022): 8,192 unit codes of 32 channels, patches of 8 pixels, and the losses of its section 3.3.

The authors released no code, so ranges are those of thuanz123/enhancing-transformers: its images lie in [0, 1], where L2
is a quarter of ours, and R1's gradient twice ours. It trains without the logit-Laplace term, and discriminates with StyleGAN2's
network; ours has no minibatch standard deviation and plain weights."""

from mmengine.config import read_base

with read_base():
    from .vqgan import *

from fvq_core.autoencoders import ViTVQGANDecoder, ViTVQGANEncoder
from fvq_core.losses import LogitLaplaceLoss, SumLoss, VanillaGANLoss
from fvq_core.losses.adversarial import R1Penalty
from fvq_core.losses.discriminators import StyleGANDiscriminator
from fvq_quantizers.inits import NormalInit
from fvq_quantizers.normalizations import L2Normalize

model.tokenizer = dict(
    type=Tokenizer,
    encoder=dict(type=ViTVQGANEncoder),
    quantizer=dict(
        type=VectorQuantizer,
        codebook_size=8192,
        code_dim=32,
        normalize=dict(type=L2Normalize, straight_to_latent=True),
        init=dict(type=NormalInit, std=1.0),
    ),
    decoder=dict(type=ViTVQGANDecoder),
)
model.reconstruction_loss = dict(
    type=SumLoss,
    losses=[dict(type=L2Loss, weight=0.25), dict(type=LogitLaplaceLoss, weight=0.1)],
)
model.perceptual_loss.update(weight=0.1)
model.adversarial = dict(
    type=AdversarialLoss,
    discriminator=dict(type=StyleGANDiscriminator, image_size=256, channel_multiplier=2),
    loss=dict(type=VanillaGANLoss),
    weight=0.1,
    discriminator_weight=1.0,
    start=0,
    r1=dict(type=R1Penalty, weight=20.0, every=16),
)
