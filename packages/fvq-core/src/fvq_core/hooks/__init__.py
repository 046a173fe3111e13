"""Hooks: what happens around the iterations."""

from .checkpoint_hook import CheckpointHook
from .ema_hook import EMAHook
from .progress_hook import ProgressHook
from .report_hook import ReportHook
from .training_log_hook import TrainingLogHook

__all__ = ['CheckpointHook', 'EMAHook', 'ProgressHook', 'ReportHook', 'TrainingLogHook']
