"""MAGE's schedule in RCG: 200 epochs at batch 4,096 and 2.4e-3, 10 of them warm-up, then a cosine to 0; clipped at 3.

Representations are learned in the same run. The release trains them in one of their own, for 200 epochs at batch 512 and 5.12e-4;
by its rule, 1e-6 an image of the batch, that were 4.1e-3 here."""

from mmengine.config import read_base

with read_base():
    from .llamagen_300e import *

train_cfg.update(max_epochs=200)
optim_wrapper.update(max_norm=3.0)
optim_wrapper.optimizer.update(lr=1.5e-4)
auto_scale_lr.update(enable=True)
param_scheduler.update(warmup=0.05, warmup_factor=0.0, hold=0, decay='cosine', end_factor=0.0)
default_hooks.report.pop('sampling')  # no guidance
default_hooks.report.update(sampling=dict(choice_temperature=11.0))
