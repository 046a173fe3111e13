"""A small generator without classes for `tools/benchmark.py --generator`: LlamaGen, for one code a position.

Layout, data and steps are set by the benchmark; the recipe is one for all three of this folder."""

from mmengine.config import read_base

with read_base():
    from ..._base_.datasets.imagenet_codes import *
    from ..._base_.models.llamagen_b import *
    from ..._base_.schedules.llamagen_300e import *

model.generator.update(dim=128, depth=4, heads=4, num_classes=1, cond_dropout=0.0)
train_dataloader.update(batch_size=16, num_workers=0, pin_memory=False)
val_dataloader = dict(batch_size=32, dataset=dict(type=CodesDataset, root='data/codes/val', every_crop=True))
val_cfg = dict()
train_cfg = dict(type=TrainLoop, max_iters=400)
optim_wrapper.update(precision='float32')
optim_wrapper.optimizer.update(lr=1e-3)
param_scheduler.update(warmup=0.05, hold=0.3, decay='linear', end_factor=0.01)
default_hooks.update(checkpoint=dict(interval=200, max_keep=2))
default_hooks.training_log.update(interval=20)
default_hooks.report.sampling = dict()
