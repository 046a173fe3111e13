"""`ema` whose codes start as k-means centres of the latents."""

from mmengine.config import read_base

with read_base():
    from .ema import *

from fvq_quantizers.inits import KMeansInit

model.tokenizer.quantizer.init = dict(type=KMeansInit)
