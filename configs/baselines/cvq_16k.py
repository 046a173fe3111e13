"""CVQ (Zheng & Vedaldi, 2023), choosing by cosine and moving seldom used codes to their closest latent, as its README has it.

Under FVQ's encoder and recipe; no table of the paper has it."""

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
