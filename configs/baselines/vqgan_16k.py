"""VQGAN (Esser et al., 2021) with 16,384 codes of 256 channels; beta on the codebook term, as released. For one device.

The file shipped with these weights has a discriminator of 2 layers, weighted 0.75, from the first step on; the file of the
1,024 codes has the losses of `_base_/models/vqgan_taming.py`."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_random_crop import *
    from .._base_.models.vqgan_taming import *
    from .._base_.schedules.vqgan_1100k import *

model.adversarial.update(weight=0.75, start=0)
model.adversarial.discriminator.update(layers=2)
train_dataloader.update(batch_size=12)
paper = dict(rows=['t1.2', 't8.4'], rfid_in1k=4.98, lpips=0.17, usage=5.9)
