"""CDM: three U-Nets in pixels, of 32, 64 and 256. 8 devices with 32 images each.

It trains and draws as a cascade, but the published FID of 4.88 cannot be checked: no code, weights or samples were released, and
sizes, schedule and batch are ours (ADM's). `model.freeze=['stage_32', 'stage_64']` trains the last stage alone. Needs the extra
`diffusers`: pip install "fvq-generators[diffusers]"."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_256_images import *
    from .._base_.models.cdm import *
    from .._base_.schedules.adm_1980k import *

from fvq_core.data import ADMCenterCrop

train_dataloader.dataset.update(
    transforms=[dict(type=ADMCenterCrop, size=256, upsample=True), dict(type=HorizontalFlip, on_device=True)]
)
paper = dict(rows=['t11.5'], fid=4.88, inception_score=158.7)
