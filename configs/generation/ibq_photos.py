"""A small IBQ generator on the codes of `codes_photos.py`: ten classes, one a photo. Minutes on two CPU cores."""

from mmengine.config import read_base

with read_base():
    from .llamagen_photos import *

from fvq_generators import IBQTransformer

model.generator.update(type=IBQTransformer, gate_init=0.1)
