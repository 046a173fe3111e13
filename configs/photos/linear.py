"""One linear map as projector (SimVQ with a trained codebook; `linear + annealing` of table 5) on the bundled photos."""

from mmengine.config import read_base

with read_base():
    from .._base_.photos import *

from fvq_quantizers.projectors import LinearProjector

model.tokenizer.quantizer.update(projector=dict(type=LinearProjector))
