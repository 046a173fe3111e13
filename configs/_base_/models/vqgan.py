"""VQGAN at f = 16 with 16,384 codes of 256 channels, and the losses of the paper's table 6 (LlamaGen's)."""

from fvq_core.autoencoders import VQGANDecoder, VQGANEncoder
from fvq_core.losses import HingeGANLoss, L2Loss, PerceptualLoss
from fvq_core.losses.adversarial import AdversarialLoss
from fvq_core.losses.discriminators import PatchGAN
from fvq_core.tokenizer import Tokenizer
from fvq_core.training.tasks import TokenizerTask
from fvq_quantizers import VectorQuantizer

model = dict(
    type=TokenizerTask,
    tokenizer=dict(
        type=Tokenizer,
        encoder=dict(type=VQGANEncoder, ch=128, ch_mult=(1, 1, 2, 2, 4), num_res_blocks=2, z_channels=256),
        quantizer=dict(type=VectorQuantizer, codebook_size=16384, code_dim=256),
        decoder=dict(type=VQGANDecoder, ch=128, ch_mult=(1, 1, 2, 2, 4), num_res_blocks=2, z_channels=256),
    ),
    reconstruction_loss=dict(type=L2Loss),
    perceptual_loss=dict(type=PerceptualLoss, net='vgg'),
    adversarial=dict(
        type=AdversarialLoss,
        discriminator=dict(type=PatchGAN, ch=64, layers=3),
        loss=dict(type=HingeGANLoss),
        weight=0.5,
        discriminator_weight=0.5,
        start=20000,
    ),
)
