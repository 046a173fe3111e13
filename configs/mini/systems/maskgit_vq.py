"""MaskGIT's tokenizer: its network without attention, the start of its codebook and its entropy term, about as large as `cnn_fvq`."""

from mmengine.config import read_base

with read_base():
    from ..vq import *

from fvq_core.autoencoders import MaskGITDecoder, MaskGITEncoder
from fvq_quantizers.inits import UniformInit
from fvq_quantizers.regularizers import EntropyRegularizer

autoencoder = dict(ch=16, ch_mult=(1, 1, 2), num_res_blocks=(0, 1, 2), z_channels=64, norm_groups=8)
model.tokenizer = dict(
    type=Tokenizer,
    encoder=dict(type=MaskGITEncoder, **autoencoder),
    quantizer=model.tokenizer.quantizer,
    decoder=dict(type=MaskGITDecoder, **autoencoder),
    quant_kernel=0,
)
model.tokenizer.quantizer.update(
    init=dict(type=UniformInit, scale=(3 / 1024) ** 0.5),
    regularizer=dict(type=EntropyRegularizer, weight=0.1, temperature=0.01, eps=1e-5),
)
del autoencoder
