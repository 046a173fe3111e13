"""What moves the raw codebook: the optimizer, statistics of the latents, or nothing."""

from .alternating_update import AlternatingUpdate
from .cvq_update import CVQUpdate
from .ema_update import EMAUpdate
from .frozen import Frozen
from .gradient_update import GradientUpdate
from .replace_dead_codes import ReplaceDeadCodes
from .split_used_codes import SplitUsedCodes

__all__ = [
    'AlternatingUpdate',
    'CVQUpdate',
    'EMAUpdate',
    'Frozen',
    'GradientUpdate',
    'ReplaceDeadCodes',
    'SplitUsedCodes',
]
