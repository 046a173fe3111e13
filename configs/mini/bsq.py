"""BSQ (Zhao et al., 2024): 10 bits, the signs of 10 channels on the unit sphere."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers.bsq import BSQ

model.tokenizer.quantizer = dict(type=BSQ, codebook_size=1024)
