"""ReVQ (Zhang et al., 2025) on VAE-SD: 512 codes, each of half a row of one channel, each with its own codebook of 16,384.

As released for 512 tokens: AdamW at 0.01 (0.0005 for the rectifier), batch 256, 100 epochs, codes that start as latents and that
are reset after each epoch. Its autoencoder is DC-AE (32 channels of 8 x 8, so that a code has 4 values and here 8), its rectifier
three EfficientViT blocks of width 512, its decay exponential; see docs/paper_notes.md."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_frozen_latents import *
    from .._base_.models.frozen_vae_sd import *
    from .._base_.schedules.annealed_40e import *

from torch.optim import AdamW

from fvq_core.autoencoders import VQGANDecoder
from fvq_quantizers import ProductQuantizer, VectorQuantizer
from fvq_quantizers.frozen_latents import FlatLatentDecoder, FlatLatentEncoder
from fvq_quantizers.inits import LatentInit
from fvq_quantizers.losses import VQLoss
from fvq_quantizers.updates import SplitUsedCodes

model.tokenizer.encoder.update(adapter=dict(type=FlatLatentEncoder, height=16, width=16))
model.tokenizer.update(
    quantizer=dict(
        type=ProductQuantizer,
        quantizer=dict(
            type=VectorQuantizer,
            codebook_size=16384,
            code_dim=8,
            loss=dict(type=VQLoss, beta=0.0),
            update=dict(type=SplitUsedCodes, interval=5004),  # an epoch
            init=dict(type=LatentInit),
        ),
        groups=512,
    ),
    decoder=dict(
        type=FlatLatentDecoder,
        height=16,
        width=16,
        rectifier=dict(type=VQGANDecoder, ch=512, ch_mult=(1,), num_res_blocks=1, z_channels=16, out_channels=16),
    ),
)
train_dataloader.update(batch_size=256)
train_cfg.update(max_epochs=100)
optim_wrapper.update(
    optimizer=dict(type=AdamW, lr=0.01, betas=(0.9, 0.999), weight_decay=1e-4, fused=True),
    paramwise_cfg=dict(custom_keys={'decoder.': dict(lr_mult=0.05), 'quantizer.': dict(decay_mult=0.0)}),
    precision='float32',
)
auto_scale_lr.update(enable=False)
param_scheduler.update(warmup=0.0, hold=0.0, decay='cosine', end_factor=0.05)
