"""MaskGIT's tokenizer with 1,024 codes of 256 channels. The rFID comes from the paper's text: no code, protocol unknown."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_random_crop import *
    from .._base_.models.maskgit_vq import *
    from .._base_.schedules.maskgit_1000k import *

paper = dict(rows=['t1.4', 't8.6'], rfid_in1k=2.28)
