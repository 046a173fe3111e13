"""CVQ (Zheng & Vedaldi, 2023) as its README runs it: chosen by cosine, rarely used codes move to their closest latent.

FVQ's encoder and recipe; not in any table of the paper."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256 import *
    from .._base_.models.vqgan import *
    from .._base_.schedules.annealed_40e import *

from fvq_quantizers.distances import DotProduct
from fvq_quantizers.normalizations import CosineSearch
from fvq_quantizers.updates import CVQUpdate

model.tokenizer.quantizer.update(
    normalize=dict(type=CosineSearch),
    distance=dict(type=DotProduct),
    update=dict(type=CVQUpdate, anchor='closest'),
)
