"""A small DiT on latents of `../baselines/kl_photos.py`: ten classes, one a photo. Minutes on two CPU cores.

tools/train.py configs/baselines/kl_photos.py
tools/extract_codes.py work_dirs/kl_photos/tokenizer bundled work_dirs/kl_photos/latents --size 64 --crops random 200 --flip
tools/train.py configs/generation/dit_photos.py
tools/sample.py work_dirs/dit_photos/generator work_dirs/kl_photos/tokenizer --num 20 --steps 50"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_latents import *
    from .._base_.models.dit import *
    from .._base_.schedules.dit_7000k import *

model.generator.update(
    layout=dict(type='Grid', height=16, width=16, channels=4, scale=0.57), dim=128, depth=4, heads=4, num_classes=10
)
train_dataloader = dict(batch_size=32, dataset=dict(type=CodesDataset, root='work_dirs/kl_photos/latents'))
train_cfg.update(max_iters=1500)
optim_wrapper.update(precision='float32')
optim_wrapper.optimizer.update(lr=1e-3)
param_scheduler.update(warmup=0.05, hold=0.3, decay='linear', end_factor=0.01)
default_hooks.update(checkpoint=dict(interval=500), ema=dict(type=EMAHook, decay=0.99))
default_hooks.training_log.update(interval=20)
default_hooks.report.sampling = dict(cfg_scale=2.0, steps=50)
