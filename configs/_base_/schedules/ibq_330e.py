"""The schedule of IBQ and Open-MAGVIT2 (TencentARC/SEED-Voken): 330 epochs at batch 256, drops at 250 and 300, moving average.

The release trains IBQ in float16 on GPUs and in bfloat16 on NPUs; here it is bfloat16."""

from mmengine.config import read_base

with read_base():
    from .annealed_40e import *

from fvq_core.training.hooks import EMAHook
from fvq_core.training.schedules import StepDecayLR

train_cfg.update(max_epochs=330)
optim_wrapper = dict(
    type=ClippedOptimWrapper,
    optimizer=dict(type=Adam, lr=1e-4, betas=(0.5, 0.9), fused=True),
    max_norm=None,
    precision='bfloat16',
)
auto_scale_lr.update(base_batch_size=256)
param_scheduler = dict(type=StepDecayLR, milestones=(250 / 330, 300 / 330))
default_hooks.update(ema=dict(type=EMAHook, decay=0.999))
