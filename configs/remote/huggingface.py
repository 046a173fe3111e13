"""FVQ at the size of `fvq_photos`, on a data set of the Hugging Face hub. For another one:

--cfg-options train_dataloader.dataset.path=USER/NAME train_dataloader.dataset.image=COLUMN, and the same of val_dataloader."""

from mmengine.config import read_base

with read_base():
    from ..fvq.fvq_photos import *

from fvq.remote_data import HuggingFaceImages
from fvq_core.data import ADMCenterCrop, ADMRandomCrop, HorizontalFlip

train_dataloader.num_workers = 2
train_dataloader.dataset = dict(
    type=HuggingFaceImages,
    path='uoft-cs/cifar10',
    image='img',
    label='label',
    transforms=[dict(type=ADMRandomCrop, size=64, upsample=True), dict(type=HorizontalFlip)],
)
val_dataloader.num_workers = 2
val_dataloader.dataset = dict(
    type=HuggingFaceImages,
    path='uoft-cs/cifar10',
    split='test',
    image='img',
    label='label',
    transforms=[dict(type=ADMCenterCrop, size=64, upsample=True)],
)
default_hooks.report.dataset = None
