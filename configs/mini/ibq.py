"""IBQ (Shi et al., 2025): dot product, index back-propagation, entropy term weighted 0.05."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.distances import DotProduct
from fvq_quantizers.estimators import IndexBackpropagation
from fvq_quantizers.inits import NormalInit
from fvq_quantizers.losses import IBQLoss
from fvq_quantizers.regularizers import EntropyRegularizer

model.tokenizer.quantizer.update(
    distance=dict(type=DotProduct),
    estimator=dict(type=IndexBackpropagation),
    loss=dict(type=IBQLoss, beta=0.25),
    regularizer=dict(type=EntropyRegularizer, weight=0.05),
    init=dict(type=NormalInit, std=1.0),
)
