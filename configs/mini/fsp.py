"""FSP (Zhai et al., 2026) with levels 8, 5, 5, 5: 1,000 codes, perturbed in training instead of quantized."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.fsp import FSP

model.tokenizer.quantizer = dict(type=FSP, levels=(8, 5, 5, 5))
