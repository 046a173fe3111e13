"""Learning-rate schedules."""

from .warmup_hold_decay import WarmupHoldDecayLR

__all__ = ['WarmupHoldDecayLR']
