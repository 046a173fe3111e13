"""A small MAR on the latents of `dit_photos.py`, four positions a token; see there.

Its head's noise is linear: where the cosine ends, an error of the prediction is multiplied by 20,000, and minutes of training leave
one that shows."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_latents import *
    from .._base_.models.mar import *
    from .._base_.schedules.mar_800e import *

model.generator.update(
    layout=dict(type='Grid', height=16, width=16, channels=4, scale=0.57),
    patch_size=2,
    num_classes=10,
    dim=128,
    depth=2,
    heads=4,
    head_depth=3,
    head_width=128,
    head_draws=2,
    schedule='linear',
    class_tokens=4,
    attention_dropout=0.0,
    dropout=0.0,
)
train_dataloader = dict(batch_size=16, dataset=dict(type=CodesDataset, root='work_dirs/kl_photos/latents'))
train_cfg = dict(type=TrainLoop, max_iters=1500)
optim_wrapper.update(precision='float32')
optim_wrapper.optimizer.update(lr=1e-3)
param_scheduler.update(warmup=0.05, hold=0.3, decay='linear', end_factor=0.01)
default_hooks.update(checkpoint=dict(interval=500), ema=dict(type=EMAHook, decay=0.99))
default_hooks.training_log.update(interval=20)
default_hooks.report.sampling = dict(cfg_scale=2.0, steps=16, diffusion_steps=25)
