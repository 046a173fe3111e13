"""Vanilla VQ; a code that no latent chose for 20 steps is replaced by a latent (vqtorch: 100 steps, in longer runs)."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.updates import ReplaceDeadCodes

model.tokenizer.quantizer.update(update=dict(type=ReplaceDeadCodes, patience=20))
