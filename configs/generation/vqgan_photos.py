"""A small minGPT, VQGAN's generator, on the codes of `codes_photos.py`: ten classes, one a photo. Minutes on two CPU cores."""

from mmengine.config import read_base

with read_base():
    from .llamagen_photos import *

from fvq_generators import MinGPT

model.generator.update(type=MinGPT)
default_hooks.report.pop('sampling')
