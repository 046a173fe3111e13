"""What moves the codes: the optimizer, statistics of the latents, or nothing."""

from .ema_update import EMAUpdate
from .frozen import Frozen
from .gradient_update import GradientUpdate

__all__ = ['EMAUpdate', 'Frozen', 'GradientUpdate']
