"""One linear map as projector.

Latents cannot be the start of a codebook that is mapped: in place of k-means and first latents, N(0, 1/D) and N(0, 0.3^2)."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.projectors import LinearProjector

model.tokenizer.quantizer.update(projector=dict(type=LinearProjector))
init = 'model.tokenizer.quantizer.init'
sweep.row = dict(linear={})
sweep.start = dict(
    uniform={init: dict(type='UniformInit')},
    normal={init: dict(type='NormalInit', std=1.0)},
    normal_d={init: dict(type='NormalInit')},
    normal_03={init: dict(type='NormalInit', std=0.3)},
)
del init
