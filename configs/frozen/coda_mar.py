"""The residual pyramid of CODA (Liu et al., 2025) on VAE-MAR's frozen latents: 680 codes of ten scales, one codebook of 16,384.

Its first step only, on latents: CODA trains in pixels, with LoRA in the decoder and a GAN, and assigns codes by attention. Entropy
term (0.05, temperature 0.01), commitment (0.05), scales, AdamW and batch are its release's; see docs/paper_notes.md."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_frozen_latents import *
    from .._base_.models.frozen_vae_sd import *
    from .._base_.schedules.annealed_40e import *

from torch.optim import AdamW

from fvq_quantizers import MultiScaleQuantizer, VectorQuantizer
from fvq_quantizers.inits import NormalInit
from fvq_quantizers.losses import VQLoss
from fvq_quantizers.regularizers import EntropyRegularizer

model.tokenizer.encoder.autoencoder.update(latent_scale=0.2325)
model.tokenizer.encoder.autoencoder.decoder.update(attention=[])
model.tokenizer.quantizer = dict(
    type=MultiScaleQuantizer,
    quantizer=dict(
        type=VectorQuantizer,
        codebook_size=16384,
        code_dim=16,
        loss=dict(type=VQLoss, beta=0.05),
        regularizer=dict(type=EntropyRegularizer, weight=0.05),
        init=dict(type=NormalInit, std=1.0),
    ),
    scales=(1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
    phi_ratio=0.0,
)
load_from = 'work_dirs/vae_mar/tokenizer'
train_dataloader.dataset.update(root='data/latents/imagenet_vae_mar')
train_cfg.update(max_epochs=10)
optim_wrapper.update(
    optimizer=dict(type=AdamW, lr=5e-4, betas=(0.5, 0.9), weight_decay=5e-3, fused=True), max_norm=10.0
)
param_scheduler.update(warmup=0.0, hold=0.0, decay='cosine', end_factor=0.0)
