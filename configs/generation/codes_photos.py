"""A small FVQ tokenizer for generation: the bundled photos as 8x8 codes, each crop most of a photo.

The first step of `make sample`."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.bundled_photos import *
    from .._base_.models.vqgan_tiny import *
    from .._base_.schedules.annealed_400 import *

from fvq_quantizers.inits import NormalInit
from fvq_quantizers.projectors import VQBridge

model.tokenizer.quantizer.update(projector=dict(type=VQBridge, patch_size=4), init=dict(type=NormalInit, std=1.0))
for half in (model.tokenizer.encoder, model.tokenizer.decoder):
    half.update(ch_mult=(1, 1, 2, 2), num_res_blocks=(0, 1, 1, 1))
del half
train_dataloader.dataset.update(short_side=72)
val_dataloader.dataset.update(split='train', short_side=72, crops=100)
