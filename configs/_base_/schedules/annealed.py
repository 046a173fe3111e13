"""The paper's annealing (table 6): Adam, 10 % of the run warm-up, 30 % of the rest constant, then linear to 1 %.

The length of the run is left to the schedules on top of it."""

from mmengine.config import read_base

with read_base():
    from ..default_runtime import *

from torch.optim import Adam

from fvq_core.training import ClippedOptimWrapper, TrainLoop
from fvq_core.training.schedules import WarmupHoldDecayLR

optim_wrapper = dict(
    type=ClippedOptimWrapper,
    optimizer=dict(type=Adam, lr=1e-4, betas=(0.9, 0.95), fused=True),
    max_norm=1.0,
)
param_scheduler = dict(type=WarmupHoldDecayLR, warmup=0.1, hold=0.3, decay='linear', end_factor=0.01)
