"""FVQ at the size of `fvq_photos`, on tar shards that are streamed from a web server or an object store. Name yours:

--cfg-options train_dataloader.dataset.shards='https://...' train_dataloader.dataset.length=N, and the same of val_dataloader."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_photos import *

from fvq.remote_data import RemoteShards
from fvq_core.data import ADMCenterCrop, ADMRandomCrop, HorizontalFlip

train_dataloader.num_workers = 2
train_dataloader.dataset = dict(
    type=RemoteShards,
    shards='https://HOST/train-{000000..000009}.tar',
    length=10_000,
    transforms=[dict(type=ADMRandomCrop, size=64, upsample=True), dict(type=HorizontalFlip)],
)
val_dataloader.num_workers = 1
val_dataloader.dataset = dict(
    type=RemoteShards,
    shards='https://HOST/val-000000.tar',
    length=1000,
    transforms=[dict(type=ADMCenterCrop, size=64, upsample=True)],
)
default_hooks.report.dataset = None
