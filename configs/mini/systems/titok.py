"""TiTok in a single stage: vision transformers of the size of `cnn_fvq` around 64 tokens of 1,024 codes, a quarter of the bits."""

from mmengine.config import read_base

with read_base():
    from ..vq import *

from fvq_core.autoencoders import TiTokDecoder, TiTokEncoder
from fvq_quantizers.normalizations import L2Normalize

transformer = dict(image_size=64, patch_size=8, width=64, depth=2, heads=4, tokens=64, z_channels=12, init_std=64**-0.5)
model.tokenizer = dict(
    type=Tokenizer,
    encoder=dict(type=TiTokEncoder, **transformer),
    quantizer=dict(model.tokenizer.quantizer, code_dim=12, normalize=dict(type=L2Normalize)),
    decoder=dict(type=TiTokDecoder, **transformer),
    quant_kernel=0,
)
del transformer
