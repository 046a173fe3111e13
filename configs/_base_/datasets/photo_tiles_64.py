"""Squares of 64x64 from your photos at a short side of 256, which is a quarter: `train/` at random, `val/` as tiles.

Sixteen tiles cover the middle of a photo without overlap. Put the photos, or a link, at `data/photos`;
`tools/benchmark.py --data PHOTOS` takes another folder."""

from mmengine.config import read_base

with read_base():
    from ..evaluation import *

from fvq_core.data import ADMRandomCrop, HorizontalFlip, ImageFolder
from fvq_eval.benchmark.photo_tiles import PhotoTiles

train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    pin_memory=True,
    on_device='auto',
    dataset=dict(
        type=ImageFolder,
        root='data/photos/train',
        transforms=[
            dict(type=ADMRandomCrop, size=64, min_fraction=0.25, max_fraction=0.25),
            dict(type=HorizontalFlip, on_device=True),
        ],
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=8,
    pin_memory=True,
    dataset=dict(type=PhotoTiles, root='data/photos/val', crop_size=64, side=256),
)
