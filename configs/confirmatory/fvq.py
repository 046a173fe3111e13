"""FVQ: VQBridge with 16 codes a token."""

from mmengine.config import read_base

with read_base():
    from .linear import *

from fvq_quantizers.projectors import VQBridge

model.tokenizer.quantizer.update(projector=dict(type=VQBridge, patch_size=16))
sweep.row = dict(fvq={})
