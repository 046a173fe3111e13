"""A small RandAR on the codes of `codes_photos.py`: ten classes, one a photo. Minutes on two CPU cores."""

from mmengine.config import read_base

with read_base():
    from .llamagen_photos import *

from fvq_generators import RandAR

model.generator.update(type=RandAR)
default_hooks.report.sampling.update(steps=22)
