"""RQ-Transformer's schedule: 100 epochs of AdamW along a cosine to 0, without warm-up, batch 2,048."""

from mmengine.config import read_base

with read_base():
    from .llamagen_300e import *

train_cfg.update(max_epochs=100)
optim_wrapper.optimizer.update(lr=5e-4, weight_decay=1e-4)
optim_wrapper.pop('constructor')  # the release decays every parameter
param_scheduler.update(decay='cosine', hold=0, end_factor=0)
default_hooks.report.sampling = dict(top_p=0.92)  # the release has no guidance
