"""FVQ with the DiT-style bridge that every released script trains.

Its output map starts at a tenth of Xavier instead of zero."""

from mmengine.config import read_base

with read_base():
    from .fvq import *

from fvq_quantizers.projectors import DiTBridge

model.tokenizer.quantizer.update(projector=dict(type=DiTBridge, patch_size=4, output_scale=0.1))
