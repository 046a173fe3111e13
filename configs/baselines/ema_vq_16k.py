"""VQ whose codes are moving averages of their latents (VQ-VAE, appendix A); unused codes restart, as in RQ-VAE.

FVQ's encoder and recipe; not in any table of the paper."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256 import *
    from .._base_.models.vqgan import *
    from .._base_.schedules.annealed_40e import *

from fvq_quantizers.inits import NormalInit
from fvq_quantizers.losses import VQLoss
from fvq_quantizers.updates import EMAUpdate

model.tokenizer.quantizer.update(
    init=dict(type=NormalInit, std=1.0),
    loss=dict(type=VQLoss, beta=0.25, codebook_weight=0.0),
    update=dict(type=EMAUpdate, decay=0.99, restart=True),
)
