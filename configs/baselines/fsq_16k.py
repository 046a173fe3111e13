"""FSQ (Mentzer et al., 2024) with levels 8, 8, 8, 6, 5: 15,360 codes and no codebook.

FVQ's encoder and recipe; not in any table of the paper."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256 import *
    from .._base_.models.vqgan import *
    from .._base_.schedules.annealed_40e import *

from fvq_quantizers import FSQ

model.tokenizer.quantizer = dict(type=FSQ, levels=(8, 8, 8, 6, 5))
