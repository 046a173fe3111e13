"""FVQ on the frozen latents of VAE-SD: `../fvq/fvq_16k.py`'s quantizer and schedule between two small convolutional networks.

Ours: no paper trains a bridge on frozen latents. An epoch reads 42 GB of moments and no image."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_frozen_latents import *
    from .._base_.models.frozen_vae_sd import *
    from .._base_.schedules.annealed_40e import *

from fvq_core.autoencoders import VQGANDecoder, VQGANEncoder
from fvq_quantizers import VectorQuantizer
from fvq_quantizers.projectors import VQBridge

adapter = dict(ch=256, ch_mult=(1,), num_res_blocks=2, z_channels=256)
model.tokenizer.encoder.update(adapter=dict(type=VQGANEncoder, in_channels=16, **adapter))
model.tokenizer.update(
    quantizer=dict(
        type=VectorQuantizer, codebook_size=16384, code_dim=256, projector=dict(type=VQBridge, patch_size=16)
    ),
    decoder=dict(type=VQGANDecoder, out_channels=16, **adapter),
    quant_kernel=1,
)
del adapter
