"""Vanilla VQ: the codebook itself is trained, without a projector. The base of every other row of the mini benchmark.

1,024 codes, 400 iterations on the bundled photos, scored once at the end."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.bundled_photos import *
    from .._base_.models.vqgan_tiny import *
    from .._base_.schedules.annealed_400 import *
    from .._base_.sizes import *

train_cfg.update(val_interval=0)
val_dataloader.dataset.update(crops=1024)  # 256 K codes
default_hooks.training_log.update(interval=20)
