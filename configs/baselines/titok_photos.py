"""A small TiTok in a single stage on ten bundled photographs, with the crops, losses and batch of `fvq/fvq_photos.py`.

Each crop of 64x64 becomes 32 codes of 1,024, an eighth of what the other tokenizers of the photos use."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_photos import *

from fvq_core.autoencoders import TiTokDecoder, TiTokEncoder
from fvq_quantizers.normalizations import L2Normalize

small = dict(image_size=64, patch_size=8, width=96, depth=3, heads=4, tokens=32, z_channels=16)
model.tokenizer = dict(
    type=Tokenizer,
    encoder=dict(type=TiTokEncoder, **small),
    quantizer=dict(
        type=VectorQuantizer,
        codebook_size=1024,
        code_dim=16,
        normalize=dict(type=L2Normalize),
        init=dict(type=NormalInit, std=1.0),
    ),
    decoder=dict(type=TiTokDecoder, **small),
    quant_kernel=0,
)
del small
default_hooks.report.pop('dataset')  # whole photos have another size than the learned positions
