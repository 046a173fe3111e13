"""Hooks: what happens around the iterations."""

from .checkpoint_hook import CheckpointHook
from .ema_hook import EMAHook
from .progress_hook import ProgressHook
from .training_log_hook import TrainingLogHook

__all__ = ['CheckpointHook', 'EMAHook', 'ProgressHook', 'TrainingLogHook']
