"""The synchronized update of codes and encoder (Huh et al., 2023, section 4.3)."""

from __future__ import annotations

from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import ESTIMATORS

from .estimator import Estimator


@ESTIMATORS.register_module()
class SynchronizedStraightThrough(Estimator):
    """z + sg[z_q - z] + nu z_q - sg[nu z_q]: straight-through for the latent, and nu times the gradient for its code.

    With the straight-through estimator the task's loss reaches the codes one step late, through the latents they follow.
    Here they get a part of its gradient in the same step.

    Args:
        nu: Share of the decoder's gradient that the codes get, 0 or more; 0 is `StraightThrough`.
    """

    def __init__(self, nu: float = 0.2) -> None:
        super().__init__()
        if nu < 0:
            raise UserError(f'SynchronizedStraightThrough: nu must be 0 or more, got {nu}; 0.2 is a usual value.')
        self.nu, self.moves_codes = nu, nu > 0

    def pair(self, z_ND: Tensor, z_q_ND: Tensor) -> Tensor:
        straight = z_ND + (z_q_ND - z_ND).detach()
        return straight + self.nu * (z_q_ND - z_q_ND.detach())
