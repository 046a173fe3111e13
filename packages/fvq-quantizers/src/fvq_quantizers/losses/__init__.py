"""Terms that pull codes to latents and latents to codes. All are means over B, h, w and D."""

from .assignment_cross_entropy import AssignmentCrossEntropy
from .ibq_loss import IBQLoss
from .non_stationary_loss import NonStationaryLoss
from .vq_loss import VQLoss

__all__ = ['AssignmentCrossEntropy', 'IBQLoss', 'NonStationaryLoss', 'VQLoss']
