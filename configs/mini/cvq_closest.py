"""CVQ (Zheng & Vedaldi, 2023), choosing by cosine as released: rarely used codes move to the closest latent."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.distances import DotProduct
from fvq_quantizers.normalizations import CosineSearch
from fvq_quantizers.updates import CVQUpdate

model.tokenizer.quantizer.update(
    normalize=dict(type=CosineSearch),
    distance=dict(type=DotProduct),
    update=dict(type=CVQUpdate, anchor='closest'),
)
