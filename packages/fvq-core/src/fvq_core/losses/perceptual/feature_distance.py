"""The distance in LPIPS: weighted squared differences between features of unit length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

EPS = 1e-10  # added to a feature's length before dividing by it, as the lpips package does


class FeatureDistance(torch.autograd.Function):
    """Saves only the two feature maps for the backward pass; autograd would also save their float32 difference.

    The backward pass recomputes that difference. If all channels of a position are 0 the gradient is 0; autograd through
    the square root would give NaN.
    """

    @staticmethod
    def forward(ctx: Any, a_BCHW: Tensor, b_BCHW: Tensor, weight_BCHW: Tensor) -> Tensor:
        inverse_a, inverse_b = inverse_length(a_BCHW), inverse_length(b_BCHW)
        ctx.save_for_backward(a_BCHW, b_BCHW, weight_BCHW, inverse_a, inverse_b)
        difference = a_BCHW * inverse_a - b_BCHW * inverse_b
        return difference.square_().mul_(weight_BCHW).sum(1).mean((1, 2))

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore[bad-override]
        ctx: Any, grad_B: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None]:
        a_BCHW, b_BCHW, weight_BCHW, inverse_a, inverse_b = ctx.saved_tensors
        positions = a_BCHW.shape[2] * a_BCHW.shape[3]
        grad = (a_BCHW * inverse_a - b_BCHW * inverse_b).mul_(weight_BCHW)
        grad.mul_(grad_B.view(-1, 1, 1, 1) * (2 / positions))
        needs_a, needs_b, _ = ctx.needs_input_grad
        return (
            through_normalization(grad, a_BCHW, inverse_a) if needs_a else None,
            through_normalization(grad, b_BCHW, inverse_b).neg_() if needs_b else None,
            None,
        )


def inverse_length(x_BCHW: Tensor) -> Tensor:
    """1 / (|x| + EPS) over channels, at least float32, (B, 1, H, W); 0 where x is 0."""
    dtype = torch.promote_types(x_BCHW.dtype, torch.float32)
    length = torch.linalg.vector_norm(x_BCHW, dim=1, keepdim=True, dtype=dtype)
    return torch.where(length > 0, 1 / (length + EPS), 0)


def through_normalization(grad_BCHW: Tensor, x_BCHW: Tensor, inverse_B1HW: Tensor) -> Tensor:
    """The gradient with respect to x, given that with respect to u = x / (|x| + EPS).

    It is (grad - u (grad . x / |x|)) / (|x| + EPS); 1 / |x| is approximated by 1 / (|x| + EPS), a relative error of EPS / |x|.
    """
    along = (grad_BCHW * x_BCHW).sum(1, keepdim=True) * inverse_B1HW.square()
    return ((grad_BCHW - x_BCHW * along) * inverse_B1HW).to(x_BCHW.dtype)


def feature_distance(a_BCHW: Tensor, b_BCHW: Tensor, weight_BCHW: Tensor) -> Tensor:
    """Mean over positions of sum over channels of w (a / |a| - b / |b|)^2: (B,), at least float32; w gets no gradient."""
    return FeatureDistance.apply(a_BCHW, b_BCHW, weight_BCHW)  # pyrefly: ignore[bad-return]
