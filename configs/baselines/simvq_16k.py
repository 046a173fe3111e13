"""SimVQ (Zhu et al., 2024b): a frozen N(0, 1/D) codebook behind one linear map.

FVQ's encoder and recipe; not in any table of the paper."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256 import *
    from .._base_.models.vqgan import *
    from .._base_.schedules.annealed_40e import *

from fvq_quantizers.inits import NormalInit
from fvq_quantizers.projectors import LinearProjector
from fvq_quantizers.updates import Frozen

model.tokenizer.quantizer.update(
    projector=dict(type=LinearProjector),
    init=dict(type=NormalInit),
    update=dict(type=Frozen),
)
