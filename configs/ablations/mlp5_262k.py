"""A 5-layer perceptron for the bridge at 262,144 codes: "MLP-5 + annealing" of table 5."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_262k import *

from fvq_quantizers.projectors import MLPProjector

model.tokenizer.quantizer.projector = dict(type=MLPProjector, depth=5)
paper = dict(rows=['t5.6'], rfid_in1k=1.75, usage=22)
