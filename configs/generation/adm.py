"""ADM: 553.8 M parameters, in pixels, without guidance. 8 devices with 32 images each.

The published FID of 10.94 is of 250 steps; the release crops the centre of each image and mirrors half of them. Needs the extra
`diffusers`: pip install "fvq-generators[diffusers]"."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_images import *
    from .._base_.models.adm import *
    from .._base_.schedules.adm_1980k import *

from fvq_core.data import ADMCenterCrop

train_dataloader.dataset.update(
    transforms=[dict(type=ADMCenterCrop, size=256, upsample=True), dict(type=HorizontalFlip, on_device=True)]
)
paper = dict(rows=['t11.4'], fid=10.94, inception_score=101.0, precision=0.69, recall=0.63)
