"""A small UniTok, images only, on ten bundled photographs, with the crops, losses and batch of `fvq/fvq_photos.py`.

One stage of convolutions instead of two (f = 8), and four codes of 256 instead of eight of 4,096 at each of 64 positions: as
many bits as `fvq_photos` gives 205 codes."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_photos import *

from fvq_core.autoencoders import ViTaminDecoder, ViTaminEncoder
from fvq_quantizers import ProductQuantizer
from fvq_quantizers.normalizations import L2Normalize

small = dict(conv_widths=(16,), conv_depths=(1,), width=96, depth=2, heads=4, z_channels=32)
model.tokenizer = dict(
    type=Tokenizer,
    encoder=dict(type=ViTaminEncoder, **small),
    quantizer=dict(
        type=ProductQuantizer,
        quantizer=dict(type=VectorQuantizer, codebook_size=256, code_dim=8, normalize=dict(type=L2Normalize)),
        groups=4,
    ),
    decoder=dict(type=ViTaminDecoder, **small),
    quant_kernel=0,
)
del small
