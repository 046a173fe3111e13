"""A small VAR on the codes of `var_codes_photos.py`: ten classes, one a photo. Minutes on two CPU cores."""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.imagenet_codes import *
    from .._base_.models.var_d16 import *
    from .._base_.schedules.var_200e import *

model.tokenizer = 'work_dirs/var_codes_photos/tokenizer'
model.generator.update(code_dim=32, dim=128, depth=4, heads=4, num_classes=10, drop_path=0.0, gate_init=0.1)
model.generator.layout.update(scales=[(side, side) for side in (1, 2, 3, 4, 6, 8)], codebook_size=1024)
train_dataloader = dict(batch_size=32, dataset=dict(type=CodesDataset, root='work_dirs/var_codes_photos/codes'))
train_cfg = dict(type=TrainLoop, max_iters=800)
optim_wrapper.update(precision='float32')
optim_wrapper.optimizer.update(lr=1e-3)
auto_scale_lr.update(enable=False)
param_scheduler.update(warmup=0.05, hold=0.3, end_factor=0.01)
default_hooks.update(checkpoint=dict(interval=400))
default_hooks.training_log.update(interval=20)
default_hooks.report.sampling.update(cfg_scale=2.0, top_k=0, top_p=1.0)
