"""A small FVQ (VAR) for generation: the bundled photos as six scales of codes, each crop most of a photo.

The first of the four commands of docs/generation.md."""

from mmengine.config import read_base

with read_base():
    from .codes_photos import *

from fvq_quantizers import MultiScaleQuantizer

inner = model.tokenizer.pop('quantizer')
model.tokenizer.update(
    quant_kernel=3, quantizer=dict(type=MultiScaleQuantizer, quantizer=inner, scales=(1, 2, 3, 4, 6, 8), num_phi=4)
)
del inner
