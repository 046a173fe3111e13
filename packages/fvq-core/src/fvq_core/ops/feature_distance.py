"""The distance in LPIPS: weighted squared differences between features of unit length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .channels_last import channels_last, device_of, empty_channels_last, empty_float, fused, load_kernels, power_of_2
from .kernels import Kernel

KERNEL = Kernel('feature_distance')
EPS = 1e-10  # added to a feature's length before dividing by it, as the lpips package does


def feature_distance(a_BCHW: Tensor, b_BCHW: Tensor, weight_BCHW: Tensor) -> Tensor:
    """Mean over positions of sum over channels of w (a / |a| - b / |b|)^2: (B,), at least float32; w gets no gradient.

    The fused operator reads each feature map once a pass. It is for weights of a channel and a `b` without gradient.
    """
    fits = a_BCHW.dtype == b_BCHW.dtype and not b_BCHW.requires_grad and weight_BCHW.numel() == a_BCHW.shape[1]
    if fits and fused(KERNEL, a_BCHW):
        return feature_distance_op(a_BCHW, b_BCHW, weight_BCHW.flatten())
    return FeatureDistance.apply(a_BCHW, b_BCHW, weight_BCHW)  # pyrefly: ignore[bad-return]


class FeatureDistance(torch.autograd.Function):
    """Saves only the two feature maps for the backward pass; autograd would also save their float32 difference.

    The backward pass recomputes that difference. If all channels of a position are 0 the gradient is 0; autograd through
    the square root would give NaN.
    """

    @staticmethod
    def forward(ctx: Any, a_BCHW: Tensor, b_BCHW: Tensor, weight_BCHW: Tensor) -> Tensor:
        inverse_a, inverse_b = inverse_length(a_BCHW), inverse_length(b_BCHW)
        ctx.save_for_backward(a_BCHW, b_BCHW, weight_BCHW, inverse_a, inverse_b)
        return distance(a_BCHW, b_BCHW, weight_BCHW, inverse_a, inverse_b)

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore[bad-override]
        ctx: Any, grad_B: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None]:
        a_BCHW, b_BCHW, weight_BCHW, inverse_a, inverse_b = ctx.saved_tensors
        grad = distance_gradient(grad_B, a_BCHW, b_BCHW, weight_BCHW, inverse_a, inverse_b)
        needs_a, needs_b, _ = ctx.needs_input_grad
        return (
            through_normalization(grad, a_BCHW, inverse_a) if needs_a else None,
            through_normalization(grad, b_BCHW, inverse_b).neg_() if needs_b else None,
            None,
        )


def distance(a_BCHW: Tensor, b_BCHW: Tensor, weight_BCHW: Tensor, inverse_a: Tensor, inverse_b: Tensor) -> Tensor:
    """(B,), given the inverse lengths."""
    difference = a_BCHW * inverse_a - b_BCHW * inverse_b
    return difference.square_().mul_(weight_BCHW).sum(1).mean((1, 2))


def distance_gradient(
    grad_B: Tensor, a_BCHW: Tensor, b_BCHW: Tensor, weight_BCHW: Tensor, inverse_a: Tensor, inverse_b: Tensor
) -> Tensor:
    """The gradient with respect to a / |a|."""
    positions = a_BCHW.shape[2] * a_BCHW.shape[3]
    grad = (a_BCHW * inverse_a - b_BCHW * inverse_b).mul_(weight_BCHW)
    return grad.mul_(grad_B.view(-1, 1, 1, 1) * (2 / positions))


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


def sizes(C: int, S: int, tiles: int) -> tuple[dict[str, int], int, int]:
    """Blocks, and how the positions of an image are split among programs of `tiles` tiles."""
    BC = power_of_2(C)
    BS = max(1, 2048 // BC)
    return dict(C=C, BC=BC, BS=BS), -(-S // (BS * tiles)), BS * tiles


@torch.library.custom_op('fvq::feature_distance', mutates_args=())
def feature_distance_op(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """`feature_distance` with weights (C,), in float32."""
    a, b = channels_last(a), channels_last(b)
    N, C, H, W = a.shape

    def launch() -> Tensor:
        kernels = load_kernels('feature_distance')
        blocks, splits, rows = sizes(C, H * W, 8)
        part = empty_float(a, N, splits)
        kernels.distance[(N * splits,)](a, b, weight, part, H * W, splits, rows, EPS, **blocks)
        return part.sum(1) / (H * W)

    def plain() -> Tensor:
        return distance(a, b, weight.view(1, -1, 1, 1), inverse_length(a), inverse_length(b))

    if not a.numel():
        return empty_float(a, N).zero_()
    with device_of(a):
        return KERNEL.run(launch, plain) if KERNEL.enabled(a.device) else plain()


@torch.library.custom_op('fvq::feature_distance_backward', mutates_args=())
def feature_distance_backward_op(grad: Tensor, a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """The gradient of a, channels-last in its type."""
    a, b, da, grad = channels_last(a), channels_last(b), empty_channels_last(a), grad.contiguous()
    N, C, H, W = a.shape

    def launch() -> None:
        kernels = load_kernels('feature_distance')
        blocks, splits, rows = sizes(C, H * W, 4)
        scale = 2.0 / (H * W)
        kernels.distance_b[(N * splits,)](a, b, weight, grad, da, H * W, splits, rows, EPS, scale, **blocks)

    def plain() -> None:
        inverse_a, inverse_b = inverse_length(a), inverse_length(b)
        unit_grad = distance_gradient(grad, a, b, weight.view(1, -1, 1, 1), inverse_a, inverse_b)
        da.copy_(through_normalization(unit_grad, a, inverse_a))

    if a.numel():
        with device_of(a):
            KERNEL.run(launch, plain) if KERNEL.enabled(a.device) else plain()
    return da


@feature_distance_op.register_fake
def _(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    return empty_float(a, a.shape[0])


@feature_distance_backward_op.register_fake
def _(grad: Tensor, a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    return empty_channels_last(a)


def setup(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    return feature_distance_backward_op(grad, *ctx.saved_tensors), None, None


feature_distance_op.register_autograd(backward, setup_context=setup)
