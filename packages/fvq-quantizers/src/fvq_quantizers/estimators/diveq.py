"""DiVeQ: quantization as an added error vector (Vali et al., 2025, arXiv 2509.26469)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import ESTIMATORS

from .estimator import Estimator


@ESTIMATORS.register_module()
class DiVeQ(Estimator):
    """z + |z_q - z| sg[v / |v|], v = z_q - z + noise: the error keeps its length, its direction is a constant.

    The length |z_q - z| carries gradient to the latent and to the code, so the task's loss trains both; the paper has no
    codebook and no commitment loss (`VQLoss(beta=0, codebook_weight=0)`). With noise the value is a point near the code,
    as far from the latent as the code is; in evaluation it is the code.

    The paper's second form, SF-DiVeQ, decodes points on the segments between codes. It is not offered: a tokenizer must
    reconstruct the image from its codes.

    Args:
        noise_std: Standard deviation of the noise, 0 or more. The released code uses its `noise_var` = 0.001 as a standard
            deviation, which is the default here too; 0 is the released variant without noise (`detach`).
    """

    def __init__(self, noise_std: float = 1e-3) -> None:
        super().__init__()
        if noise_std < 0:
            raise UserError(f'DiVeQ: noise_std must be 0 or more, got {noise_std}; the released code uses 0.001.')
        self.noise_std = noise_std

    def pair(self, z_ND: Tensor, z_q_ND: Tensor) -> Tensor:
        error_ND = z_q_ND - z_ND
        direction_ND = error_ND.detach()
        if self.noise_std:
            direction_ND = direction_ND + self.noise_std * torch.randn_like(direction_ND)
        return z_ND + error_ND.norm(dim=1, keepdim=True) * F.normalize(direction_ND, dim=1, eps=1e-12)
