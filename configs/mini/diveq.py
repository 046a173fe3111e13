"""DiVeQ (Vali et al., 2025): the quantization error is a differentiable step towards the code.

It has no codebook or commitment loss."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.estimators import DiVeQ
from fvq_quantizers.losses import VQLoss

model.tokenizer.quantizer.update(
    estimator=dict(type=DiVeQ),
    loss=dict(type=VQLoss, beta=0.0, codebook_weight=0.0),
)
