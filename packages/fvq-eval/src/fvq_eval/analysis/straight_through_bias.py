"""The straight-through estimator's error and what it does to the gradient (the paper, section 2, challenge 1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fvq_core.quantizer import to_vectors


def estimation_error(z_BDHW: Tensor, z_q_BDHW: Tensor) -> dict[str, Tensor]:
    """How large the paper's estimation error delta = z_q - z_e is.

    Args:
        z_BDHW: Latents, as the quantizer compared them with its codes.
        z_q_BDHW: Their codes.

    Returns:
        Scalars: `estimation_error`, the mean over latents of |delta|^2, which is D(P_z, C) of section 3.1 if the
        nearest code is chosen; `relative_estimation_error`, that over the total variance of the latents (1 is no better
        than one code at the mean); `latent_std`, the root of that variance.
    """
    z_ND, delta_ND = (to_vectors(x).double() for x in (z_BDHW, z_q_BDHW - z_BDHW))
    error = delta_ND.square().sum(1).mean()
    variance = (z_ND - z_ND.mean(0)).square().sum(1).mean()
    return {'estimation_error': error, 'relative_estimation_error': error / variance, 'latent_std': variance.sqrt()}


def gradient_bias(loss_of: Callable[[Tensor], Tensor], z_BDHW: Tensor, z_q_BDHW: Tensor) -> dict[str, Tensor]:
    """How far the gradient that the estimator hands to the encoder is from the gradient at the latent itself.

    By eq. 4 the encoder is given g_q = dL/dz at z_q instead of g_e = dL/dz at z_e. The paper names the bias and gives
    only delta; this is the bias of the gradient that delta causes. For L = 1/2 |W z - y|^2 it is g_q - g_e = W^T W delta.

    No gradient reaches any `.grad`.

    Args:
        loss_of: The task loss of a latent (B, D, H, W), a scalar: the decoder and all behind it.
        z_BDHW: Latents.
        z_q_BDHW: Their codes.

    Returns:
        Scalars: `gradient_bias`, |g_q - g_e| / |g_e| over the whole batch, 0 without bias; `gradient_cosine` of g_q and
        g_e, 1 without bias.
    """
    g_e, g_q = (gradient(loss_of, point) for point in (z_BDHW, z_q_BDHW))
    return {
        'gradient_bias': (g_q - g_e).norm() / g_e.norm(),
        'gradient_cosine': torch.nn.functional.cosine_similarity(g_q, g_e, dim=0),
    }


def gradient(loss_of: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
    """The gradient of a loss at a point, flat, float64."""
    with torch.enable_grad():
        point = point.detach().requires_grad_()
        (found,) = torch.autograd.grad(loss_of(point), point)
    return found.flatten().double()
