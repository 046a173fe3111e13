"""LlamaGen's quantizer: 8 channels, latents and codes l2-normalised."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.inits import UniformInit
from fvq_quantizers.normalizations import L2Normalize

model.tokenizer.quantizer.update(
    code_dim=8,
    normalize=dict(type=L2Normalize),
    init=dict(type=UniformInit, normalize=True),
)
