"""A small RAR on the codes of `codes_photos.py`: ten classes, one a photo. Minutes on two CPU cores."""

from mmengine.config import read_base

with read_base():
    from .llamagen_photos import *

from fvq_generators import RAR
from fvq_generators.hooks import RandomOrderHook

model.generator.update(type=RAR)
default_hooks.update(random_order=dict(type=RandomOrderHook))
