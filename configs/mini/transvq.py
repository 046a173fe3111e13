"""TransVQ (Lu et al., 2026): a frozen N(0, 1/D) codebook behind a transformer with linear attention."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.inits import NormalInit
from fvq_quantizers.projectors import CodebookTransformer
from fvq_quantizers.updates import Frozen

model.tokenizer.quantizer.update(
    projector=dict(type=CodebookTransformer), update=dict(type=Frozen), init=dict(type=NormalInit)
)
