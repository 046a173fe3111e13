"""A small ViT-VQGAN on ten bundled photographs, with the crops, losses and batch of `fvq/fvq_photos.py`.

Patches of 8 pixels as published: each crop of 64x64 becomes 64 codes, a quarter of what the convolutional tokenizers of the
photos use. In so short a run, unused codes are moved to latents (CVQ); gradients alone keep 17 of the 1,024 in use."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_photos import *

from fvq_core.autoencoders import ViTVQGANDecoder, ViTVQGANEncoder
from fvq_quantizers.normalizations import L2Normalize
from fvq_quantizers.updates import CVQUpdate

small = dict(patch_size=8, width=96, depth=3, heads=4, head_width=24)
model.tokenizer = dict(
    type=Tokenizer,
    encoder=dict(type=ViTVQGANEncoder, **small),
    quantizer=dict(
        type=VectorQuantizer,
        codebook_size=1024,
        code_dim=16,
        normalize=dict(type=L2Normalize, straight_to_latent=True),
        init=dict(type=NormalInit, std=1.0),
        update=dict(type=CVQUpdate),
    ),
    decoder=dict(type=ViTVQGANDecoder, **small),
)
del small
default_hooks.report.pop(
    'dataset'
)  # on the hundreds of positions of a whole photo, it is far worse than on the 64 it has seen
