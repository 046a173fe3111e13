"""SimVQ (Zhu et al., 2024b): a frozen N(0, 1/D) codebook behind one trained linear map."""

from mmengine.config import read_base

with read_base():
    from .linear import *

from fvq_quantizers.inits import NormalInit
from fvq_quantizers.updates import Frozen

model.tokenizer.quantizer.update(update=dict(type=Frozen))
model.tokenizer.quantizer.init = dict(type=NormalInit)
