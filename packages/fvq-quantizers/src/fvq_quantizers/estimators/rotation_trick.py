"""The rotation trick (Fifty et al., 2024, arXiv 2410.06424, section 4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.registry import ESTIMATORS

from .estimator import Estimator

SHORTEST = 1e-12  # a latent of smaller norm has no direction to rotate


@ESTIMATORS.register_module()
class RotationTrick(Estimator):
    """sg[lambda R] z: the rotation and scaling that take each latent to its code, applied as a constant.

    The latent's gradient is lambda R^T g, so the angle between gradient and code becomes that between gradient and latent.
    R rotates z to z_q in their plane and fixes its complement; lambda = |z_q| / |z|. Codes get no gradient. A latent at
    zero has no direction and takes the straight-through gradient; one opposite to its code, for which the plane is
    undefined, is reflected.
    """

    def pair(self, z_ND: Tensor, z_q_ND: Tensor) -> Tensor:
        with torch.no_grad():
            length_N1 = z_ND.norm(dim=1, keepdim=True)
            from_ND, to_ND = F.normalize(z_ND, dim=1), F.normalize(z_q_ND, dim=1)
            between_ND = F.normalize(from_ND + to_ND, dim=1)
            has_direction_N1 = length_N1 > SHORTEST
            scale_N1 = z_q_ND.norm(dim=1, keepdim=True) / length_N1.clamp_min(SHORTEST)
        # R z = z - 2 b (b.z) + 2 t (f.z), with unit vectors f (from), t (to) and b (between): no D x D matrix is made
        turned_ND = z_ND - 2 * between_ND * (between_ND * z_ND).sum(1, keepdim=True)
        turned_ND = scale_N1 * (turned_ND + 2 * to_ND * (from_ND * z_ND).sum(1, keepdim=True))
        carrier_ND = torch.where(has_direction_N1, turned_ND, z_ND)
        return carrier_ND + (z_q_ND - carrier_ND).detach()  # the value is exactly the code, without the rounding of R
