"""VQBridge as in vector-quantize-pytorch's example: each code is a token, beside 2 register tokens; one block."""

from mmengine.config import read_base

with read_base():
    from .fvq import *

model.tokenizer.quantizer.projector.update(patch_size=1, depth=1, mlp_ratio=4.0, registers=2)
