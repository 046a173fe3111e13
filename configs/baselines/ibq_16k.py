"""IBQ (Shi et al., 2025) with 16,384 codes of 256 channels and 2 residual blocks a level.

Only the file with 4 blocks was released."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_random_crop import *
    from .._base_.models.vqgan_ibq import *
    from .._base_.schedules.ibq_330e import *

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
paper = dict(rows=['t1.9', 't8.13'], rfid_in1k=1.55, lpips=0.23, usage=97)
