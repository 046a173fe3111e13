"""Learning-rate schedules."""

from .step_decay import StepDecayLR
from .warmup_hold_decay import WarmupHoldDecayLR

__all__ = ['StepDecayLR', 'WarmupHoldDecayLR']
