"""iFSQ (Lin et al., 2026): FSQ whose bound spreads a normal latent evenly; 9, 5, 5 and 5 levels, 1,125 codes."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers import FSQ

model.tokenizer.quantizer = dict(type=FSQ, levels=(9, 5, 5, 5), symmetric=True, slope=0.8)
