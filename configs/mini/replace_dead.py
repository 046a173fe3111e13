"""Vanilla VQ whose codes are replaced by a latent when none chose them for 20 steps (vqtorch: 100, in longer runs)."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.updates import ReplaceDeadCodes

model.tokenizer.quantizer.update(update=dict(type=ReplaceDeadCodes, patience=20))
