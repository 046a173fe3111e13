"""Vanilla VQ whose codes start as k-means centres of the latents."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.inits import KMeansInit

model.tokenizer.quantizer.update(init=dict(type=KMeansInit))
