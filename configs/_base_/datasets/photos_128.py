"""Crops of 128x128 from your photos: put them, or a link, at `data/photos`, with `train/` and `val/`.

`tools/benchmark.py --data PHOTOS` takes another folder."""

from mmengine.config import read_base

with read_base():
    from ..evaluation import *

from fvq_core.data import ADMCenterCrop, ADMRandomCrop, HorizontalFlip, ImageFolder

train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    pin_memory=True,
    on_device='auto',
    dataset=dict(
        type=ImageFolder,
        root='data/photos/train',
        transforms=[
            dict(type=ADMRandomCrop, size=128, min_fraction=0.25, max_fraction=0.5, upsample=True),
            dict(type=HorizontalFlip, on_device=True),
        ],
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=8,
    pin_memory=True,
    dataset=dict(
        type=ImageFolder, root='data/photos/val', transforms=[dict(type=ADMCenterCrop, size=128, upsample=True)]
    ),
)
