"""WeTok's group-wise LFQ (Zhuang et al., 2025): 2 codes a position, the signs of 5 channels each; 10 bits as in `lfq`."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers import LFQ

model.tokenizer.quantizer = dict(type=LFQ, codebook_size=32, groups=2, pool_groups=True)
sizes.k4096.update(codebook_size=64)  # of each code
sizes.k16384.update(codebook_size=128)
