"""A small RQ-Transformer on crops of the bundled photos, each a class: codes of `rq_codes_photos.py` drawn at each step.

Minutes on two CPU cores."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.bundled_photos import train_dataloader
    from .._base_.models.rq_transformer import *
    from .._base_.schedules.rq_transformer_100e import *

model.tokenizer = 'work_dirs/rq_codes_photos/tokenizer'
model.generator.update(
    layout=dict(type='Grid', height=4, width=4, codebook_size=[1024] * 4),
    code_dim=64,
    num_classes=10,
    cond_dropout=0.1,
    dim=128,
    depth=4,
    head_depth=2,
    heads=4,
)
train_dataloader.update(batch_size=32)
train_dataloader.dataset.update(short_side=72)
train_cfg = dict(type=TrainLoop, max_iters=800)
optim_wrapper.update(precision='float32')
optim_wrapper.optimizer.update(lr=1e-3)
param_scheduler.update(warmup=0.05, hold=0.3, decay='linear', end_factor=0.01)
default_hooks.update(checkpoint=dict(interval=400))
default_hooks.training_log.update(interval=20)
default_hooks.report.sampling = dict(cfg_scale=2.0)
