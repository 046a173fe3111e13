"""Huh et al. (2023) without the affine codebook: synchronised update, k-means start, codes replaced after 20 unused steps.

This is the other half of vqtorch's example, with its losses; see `huh`."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.estimators import SynchronizedStraightThrough
from fvq_quantizers.inits import KMeansInit
from fvq_quantizers.losses import VQLoss
from fvq_quantizers.updates import ReplaceDeadCodes

model.tokenizer.quantizer.update(
    estimator=dict(type=SynchronizedStraightThrough, nu=0.2),
    loss=dict(type=VQLoss, beta=0.02, codebook_weight=0.98),
    update=dict(type=ReplaceDeadCodes, patience=20, noise=0.01),
    init=dict(type=KMeansInit),
)
