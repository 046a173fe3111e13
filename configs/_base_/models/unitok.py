"""UniTok (Ma et al., 2025), images only: ViTamin-L, eight codebooks of 4,096 unit codes between attention projections.

Text tower and contrastive loss are left out. The generator's loss rises over 3 % of the run from 3/8 of it on, at the
length of `unitok_78k`; the release also blurs at first what the discriminator sees, and bounds the adaptive weight below."""

from mmengine.config import read_base

with read_base():
    from .vqgan import *

from fvq_core.autoencoders import ViTaminDecoder, ViTaminEncoder
from fvq_core.losses import L1Loss, SumLoss
from fvq_core.losses.adversarial import DiffAugment
from fvq_core.losses.discriminators import DINODiscriminator
from fvq_quantizers import ProductQuantizer
from fvq_quantizers.inits import UniformInit
from fvq_quantizers.normalizations import L2Normalize

model.tokenizer = dict(
    type=Tokenizer,
    encoder=dict(type=ViTaminEncoder, drop_path=0.1, checkpointing=True),
    quantizer=dict(
        type=ProductQuantizer,
        quantizer=dict(
            type=VectorQuantizer,
            codebook_size=4096,
            code_dim=8,
            normalize=dict(type=L2Normalize),
            init=dict(type=UniformInit, scale=8**-0.5 / 36),
        ),
        groups=8,
    ),
    decoder=dict(type=ViTaminDecoder, drop_path=0.1, checkpointing=True),
    quant_kernel=0,
)
model.reconstruction_loss = dict(type=SumLoss, losses=[dict(type=L2Loss), dict(type=L1Loss, weight=0.2)])
model.adversarial = dict(
    type=AdversarialLoss,
    discriminator=dict(type=DINODiscriminator),
    loss=dict(type=HingeGANLoss),
    weight=0.4,
    adaptive=True,
    discriminator_weight=2.0,
    start=29297,
    warmup=2344,
    augment=dict(type=DiffAugment),
    consistency=4.0,
)
