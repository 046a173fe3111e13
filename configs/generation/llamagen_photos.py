"""A small LlamaGen on the codes of `codes_photos.py`: ten classes, one a photo. Minutes on two CPU cores; see `make sample`."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.llamagen_b import *
    from .._base_.schedules.llamagen_300e import *

model.generator.update(
    layout=dict(type='Grid', height=8, width=8, codebook_size=1024), dim=128, depth=4, heads=4, num_classes=10
)
train_dataloader = dict(batch_size=32, dataset=dict(type=CodesDataset, root='work_dirs/codes_photos/codes'))
train_cfg = dict(type=TrainLoop, max_iters=800)
optim_wrapper.update(precision='float32')
optim_wrapper.optimizer.update(lr=1e-3)
param_scheduler.update(warmup=0.05, hold=0.3, decay='linear', end_factor=0.01)
default_hooks.update(checkpoint=dict(interval=400))
default_hooks.training_log.update(interval=20)
