"""A small residual tokenizer for generation: the bundled photos as 4x4 stacks of four codes, from one codebook behind a VQBridge."""

from mmengine.config import read_base

with read_base():
    from .codes_photos import *

from fvq_quantizers import ResidualQuantizer

for half in (model.tokenizer.encoder, model.tokenizer.decoder):
    half.update(ch_mult=(1, 1, 2, 2, 2), num_res_blocks=(0, 1, 1, 1, 1))
del half
inner = model.tokenizer.pop('quantizer')
model.tokenizer.quantizer = dict(type=ResidualQuantizer, quantizer=inner, depth=4)
del inner
