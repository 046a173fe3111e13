"""Alternating optimisation (Huh et al., 2023): the codes take a step on their own loss before they are used, and no other step.

SGD at 50 with momentum 0.9, as in vqtorch, from k-means centres. There is neither a commitment nor a codebook term, as vqtorch
requires (its beta is 1)."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.inits import KMeansInit
from fvq_quantizers.losses import VQLoss
from fvq_quantizers.updates import AlternatingUpdate

model.tokenizer.quantizer.update(
    loss=dict(type=VQLoss, beta=0.0, codebook_weight=0.0),
    update=dict(type=AlternatingUpdate, lr=50.0, momentum=0.9),
    init=dict(type=KMeansInit),
)
