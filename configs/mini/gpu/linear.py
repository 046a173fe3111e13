"""One linear map as projector, 16,384 codes at 128x128. The raw codebook starts at N(0, 1), as in `fvq`."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.inits import NormalInit
from fvq_quantizers.projectors import LinearProjector

model.tokenizer.quantizer.update(projector=dict(type=LinearProjector), init=dict(type=NormalInit, std=1.0))
