"""MoVQ (Zheng et al., 2022): four codes of 64 channels a position from one codebook of 1,024, norms of the decoder modulated by them.

Its code was not found: the decoder is Kandinsky's reimplementation at the table's size, losses and schedule are those of
table 6, at 40 epochs as its README quotes the original."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256 import *
    from .._base_.models.vqgan import *
    from .._base_.schedules.constant_40e import *

from fvq_core.autoencoders import MoVQDecoder
from fvq_quantizers import ProductQuantizer

model.tokenizer.quantizer = dict(
    type=ProductQuantizer,
    quantizer=dict(type=VectorQuantizer, codebook_size=1024, code_dim=64),
    groups=4,
    shared=True,
)
model.tokenizer.decoder.update(type=MoVQDecoder)
paper = dict(rows=['t8.25'], rfid_in1k=1.12)
