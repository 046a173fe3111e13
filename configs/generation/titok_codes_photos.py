"""A small TiTok for generation: the bundled photos as 32 codes, each crop most of a photo, as in `codes_photos.py`."""

from mmengine.config import read_base

with read_base():
    from ..baselines.titok_photos import *

train_dataloader.dataset = dict(type=BundledPhotos, split='train', crop_size=64, crops=1000, short_side=72)
val_dataloader.dataset = dict(type=BundledPhotos, split='train', crop_size=64, short_side=72, crops=100)
