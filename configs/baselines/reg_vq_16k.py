"""Reg-VQ (Zhang et al., 2023): only its prior distribution and stochastic mask, without its contrastive loss.

Its paper gives no weight for the prior. From N(0, 1) at temperature 2, the soft choices of an untrained encoder spread over a
few codes. From U(-1/K, 1/K) they would be uniform: the prior would be met and masked positions would be noise. FVQ's encoder
and recipe; not in any table of the paper."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256 import *
    from .._base_.models.vqgan import *
    from .._base_.schedules.annealed_40e import *

from fvq_quantizers.estimators import StochasticMask
from fvq_quantizers.inits import NormalInit
from fvq_quantizers.regularizers import PriorRegularizer

model.tokenizer.quantizer.update(
    estimator=dict(type=StochasticMask, temperature=2.0),
    regularizer=dict(type=PriorRegularizer, weight=1.0, temperature=2.0),
    init=dict(type=NormalInit, std=1.0),
)
