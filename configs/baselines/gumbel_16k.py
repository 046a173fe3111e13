"""Gumbel-softmax VQ (GumbelVQ of VQGAN, DALL-E).

FVQ's encoder and recipe; not in any table of the paper."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256 import *
    from .._base_.models.vqgan import *
    from .._base_.schedules.annealed_40e import *

from fvq_quantizers import GumbelQuantizer

model.tokenizer.quantizer = dict(type=GumbelQuantizer, codebook_size=16384, code_dim=256, kl_weight=1e-8)
