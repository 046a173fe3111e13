"""VQGAN (Esser et al., 2021) with 1,024 codes of 256 channels; beta on the codebook term, as released. For one device."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_random_crop import *
    from .._base_.models.vqgan_taming import *
    from .._base_.schedules.vqgan_1100k import *

model.tokenizer.quantizer.update(codebook_size=1024)
train_dataloader.update(batch_size=12)
paper = dict(rows=['t1.1', 't8.3'], rfid_in1k=7.94, usage=44)
