"""FVQ on ten bundled photographs: VQBridge with 4 codes a token and the paper's annealing; minutes on two CPU cores."""

from mmengine.config import read_base

with read_base():
    from .._base_.photos import *

from fvq_quantizers.projectors import VQBridge

model.tokenizer.quantizer.update(projector=dict(type=VQBridge, patch_size=4))
