"""FVQ: VQBridge with 4 codes a token.

The raw codebook starts at N(0, 1), as in `linear` and `mlp5`; docs/vqbridge.md explains why."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.inits import NormalInit
from fvq_quantizers.projectors import VQBridge

model.tokenizer.quantizer.update(projector=dict(type=VQBridge, patch_size=4), init=dict(type=NormalInit, std=1.0))
