"""What every row of the mini benchmark shares: the photo recipe, scored once at its end, with K = 1,024 codes."""

from mmengine.config import read_base

with read_base():
    from .photos import *

train_cfg.update(val_interval=0)
val_dataloader.dataset.update(crops=1024)  # 256 K codes
default_hooks.training_log.update(interval=20)
