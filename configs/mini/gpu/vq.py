"""Vanilla VQ with 16,384 codes of 256 channels at 128x128. The base of the other rows on a GPU."""

from mmengine.config import read_base

with read_base():
    from ..._base_.datasets.photos_128 import *
    from ..._base_.models.vqgan_128 import *
    from ..._base_.schedules.annealed_20k import *
