"""FSQ (Mentzer et al., 2024) with levels 8, 5, 5, 5: 1,000 codes."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers import FSQ

model.tokenizer.quantizer = dict(type=FSQ, levels=(8, 5, 5, 5))
