"""Crops of 64x64 from the ten bundled photos; evaluation crops are of other parts of them."""

from mmengine.config import read_base

with read_base():
    from ..evaluation import *

from fvq_core.data import BundledPhotos

train_dataloader = dict(batch_size=16, dataset=dict(type=BundledPhotos, split='train', crop_size=64, crops=1000))
val_dataloader = dict(batch_size=64, dataset=dict(type=BundledPhotos, split='eval', crop_size=64, crops=4096))
