"""The KL autoencoder of latent diffusion at f = 16, 16 channels, and the losses of its release (Rombach et al., 2022).

L1 and LPIPS as the likelihood of an image, KL 1e-6, an adaptive GAN from iteration 50,001 on:
`models/first_stage_models/kl-f16/config.yaml` of CompVis/latent-diffusion."""

from fvq_core.autoencoders import KLAutoencoder, VQGANDecoder, VQGANEncoder
from fvq_core.losses import HingeGANLoss, L1Loss, NLLLoss, PerceptualLoss
from fvq_core.losses.adversarial import AdversarialLoss
from fvq_core.losses.discriminators import PatchGAN
from fvq_core.training.tasks import TokenizerTask

model = dict(
    type=TokenizerTask,
    tokenizer=dict(
        type=KLAutoencoder,
        encoder=dict(type=VQGANEncoder, ch=128, ch_mult=(1, 1, 2, 2, 4), num_res_blocks=2, z_channels=32),
        decoder=dict(type=VQGANDecoder, ch=128, ch_mult=(1, 1, 2, 2, 4), num_res_blocks=2, z_channels=16),
        latent_channels=16,
        kl_weight=1e-6,
    ),
    reconstruction_loss=dict(type=L1Loss),
    perceptual_loss=dict(type=PerceptualLoss, net='vgg'),
    nll=dict(type=NLLLoss),
    adversarial=dict(
        type=AdversarialLoss,
        discriminator=dict(type=PatchGAN, ch=64, layers=3),
        loss=dict(type=HingeGANLoss),
        weight=0.5,
        discriminator_weight=1.0,
        adaptive=True,
        start=50001,
    ),
)
