"""A linear map for the bridge: "linear + annealing" of table 5."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_16k import *

from fvq_quantizers.projectors import LinearProjector

model.tokenizer.quantizer.projector = dict(type=LinearProjector)
paper = dict(rows=['t5.2'], rfid_in1k=1.52, usage=53)
