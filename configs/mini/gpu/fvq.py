"""FVQ with 16,384 codes, 16 a token, at 128x128. The raw codebook starts at N(0, 1)."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.inits import NormalInit
from fvq_quantizers.projectors import VQBridge

model.tokenizer.quantizer.update(projector=dict(type=VQBridge, patch_size=16), init=dict(type=NormalInit, std=1.0))
