"""FVQ with 65,536 codes: four times the codes, four times the patch."""

from mmengine.config import read_base

with read_base():
    from .fvq_16k import *

model.tokenizer.quantizer.update(codebook_size=65536)
model.tokenizer.quantizer.projector.update(patch_size=64)
paper = dict(rows=['t3.8'], rfid_in1k=1.14, rfid_coco=6.39, usage=100)
