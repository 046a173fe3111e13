"""Reg-VQ (Zhang et al., 2023): choices are pulled towards a uniform prior, codes of masked positions are drawn at random."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.estimators import StochasticMask
from fvq_quantizers.inits import NormalInit
from fvq_quantizers.regularizers import PriorRegularizer

model.tokenizer.quantizer.update(
    estimator=dict(type=StochasticMask, temperature=1.0),
    regularizer=dict(type=PriorRegularizer, weight=1.0, temperature=1.0),
    init=dict(type=NormalInit, std=1.0),
)
