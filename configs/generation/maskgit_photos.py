"""A small MaskGIT on the codes of `codes_photos.py`: ten classes, one a photo. Minutes on two CPU cores.

In place of `llamagen_photos.py` in `make sample`'s commands; classes are dropped, so that guidance works."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.maskgit import *
    from .._base_.schedules.maskgit_2000k import *

model.generator.update(
    layout=dict(type='Grid', height=8, width=8, codebook_size=1024), num_classes=10, cond_dropout=0.1, tied_head=False
)
model.generator.network.update(dim=128, depth=4, heads=4, dropout=0.0, attention_dropout=0.0)
train_dataloader = dict(batch_size=32, dataset=dict(type=CodesDataset, root='work_dirs/codes_photos/codes'))
train_cfg.update(max_iters=1500)
optim_wrapper.update(precision='float32')
optim_wrapper.optimizer.update(lr=1e-3)
param_scheduler.update(warmup=0.05, hold=0.3, decay='linear', end_factor=0.01)
default_hooks.update(checkpoint=dict(interval=500), ema=dict(type=EMAHook, decay=0.99))
default_hooks.training_log.update(interval=20)
default_hooks.report.sampling.update(cfg_scale=2.0)
