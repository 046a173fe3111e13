"""Product quantization (UniTok, MoVQ): 4 codes a position, each one of 256 for 16 of the 64 channels."""

from mmengine.config import read_base

with read_base():
    from .vq import *

from fvq_quantizers import ProductQuantizer

inner = model.tokenizer.pop('quantizer')
inner.update(codebook_size=256, code_dim=16)
model.tokenizer.quantizer = dict(type=ProductQuantizer, quantizer=inner, groups=4)
del inner
sizes.k4096.update(codebook_size=1024)  # for each of the 4 groups
sizes.k16384.update(codebook_size=4096)
