"""ImageNet at 256x256, with LlamaGen's crops (table 6); evaluation on the validation set.

Put ImageNet, or a link to it, at `data/imagenet`; docs/data.md has the layout. The paper's batch is 128: 8 devices with 16
images each. docs/reproduce.md has other counts."""

from mmengine.config import read_base

with read_base():
    from ..evaluation import *

from fvq_core.data import ADMCenterCrop, ADMRandomCrop, HorizontalFlip, ImageFolder

train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    pin_memory=True,
    dataset=dict(
        type=ImageFolder,
        root='data/imagenet/train',
        exif_orientation='ignore',  # as the released code
        decoder='auto',
        transforms=[dict(type=ADMRandomCrop, size=256, upsample=True), dict(type=HorizontalFlip, on_device=True)],
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=8,
    pin_memory=True,
    dataset=dict(
        type=ImageFolder,
        root='data/imagenet/val',
        exif_orientation='ignore',
        transforms=[dict(type=ADMCenterCrop, size=256, upsample=True)],
    ),
)
