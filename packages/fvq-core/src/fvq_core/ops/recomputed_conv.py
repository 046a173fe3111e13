"""Convolutions whose input is made again in the backward pass instead of kept, where making it takes one cheap pass."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from . import upsample2x as up
from .channels_last import autocast, fused
from .group_norm_silu import (
    KERNEL,
    apply_group_norm,
    group_norm_silu_again_op,
    group_norm_silu_backward_op,
    group_norm_silu_op,
    parameter_gradients,
)

# Whether inputs of convolutions are made again. Without, a step is a few milliseconds shorter and keeps about twice as much.
RECOMPUTE = True


def norm_conv(
    x: Tensor,
    norm: nn.GroupNorm,
    conv: nn.Conv2d,
    pre: Tensor | None = None,
    dropout: nn.Module | None = None,
    defer_bias: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """conv(dropout(silu(norm(x + pre)))), the convolution's bias if it is still to be added, else None, and x.

    The fused operator leaves the bias to the next one, `norm_conv` or `residual_sum`, if `defer_bias` allows it. It keeps x
    for the backward pass and no other tensor of that size. What else needs x must take the returned one: its gradient is
    then added while that of the norm is written. The backward pass has no derivative of its own: a gradient penalty such as R1
    may go through a discriminator, but not through this.
    """
    if not fused(KERNEL, x) or not pads_with_zeros(conv):
        given = x if pre is None else x + pre.to(x.dtype).view(1, -1, 1, 1)  # left by a kernel, which fails from now on
        h = apply_group_norm(given, norm, silu=True)
        return conv(h if dropout is None else dropout(h)), None, x
    bias, left = (None, conv.bias) if defer_bias else (conv.bias, None)
    x = autocast(x)
    drops = dropout is not None and dropout.training and getattr(dropout, 'p', 0)
    if drops or not RECOMPUTE:
        h = group_norm_silu_op(x, norm.weight, norm.bias, pre, norm.num_groups, norm.eps, True)[0]
        return convolve(h if dropout is None else dropout(h), conv.weight, bias, geometry(conv)), left, x
    settings = (norm.num_groups, norm.eps, geometry(conv))
    outputs: Any = NormConv.apply(x, norm.weight, norm.bias, pre, conv.weight, bias, settings)
    return outputs[0], left, outputs[1]


def upsample_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """conv(upsample2x(x)); the fused operator keeps x instead of features of four times its size."""
    if not RECOMPUTE or not fused(up.KERNEL, x) or not pads_with_zeros(conv):
        return conv(up.upsample2x(x))
    h: Any = UpsampleConv.apply(autocast(x), conv.weight, conv.bias, geometry(conv))
    return h


Geometry = tuple[Any, Any, Any, int]


def geometry(conv: nn.Conv2d) -> Geometry:
    return conv.stride, conv.padding, conv.dilation, conv.groups


def pads_with_zeros(conv: nn.Conv2d) -> bool:
    """Whether numbers say how many; the backward pass knows no other padding."""
    return conv.padding_mode == 'zeros' and not isinstance(conv.padding, str)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    bias = None if bias is None else bias.to(x.dtype)
    return F.conv2d(x, weight.to(x.dtype), bias, *geometry)


def convolve_backward(ctx: Any, dy: Tensor, x: Tensor, weight: Tensor, needs: tuple[bool, bool, bool]) -> tuple:
    """The gradients of x, weight and bias that are needed."""
    stride, padding, dilation, groups = ctx.geometry
    sizes = [weight.shape[0]] if needs[2] else None
    dx, dw, db = torch.ops.aten.convolution_backward(
        *(dy, x, weight.to(x.dtype), sizes, stride, padding, dilation, False, (0, 0), groups, needs)
    )
    return dx, dw.to(weight.dtype) if needs[1] else None, db.to(weight.dtype) if needs[2] else None


class NormConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        pre: Tensor | None,
        conv_weight: Tensor,
        conv_bias: Tensor | None,
        settings: Any,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        groups, eps, ctx.geometry = settings
        y, mean, rstd, xbar = group_norm_silu_op(x, weight, bias, pre, groups, eps, True)
        ctx.save_for_backward(x, mean, rstd, xbar, weight, bias, pre, conv_weight)
        return convolve(y, conv_weight, conv_bias, ctx.geometry), x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, skip: Tensor | None) -> tuple:  # pyrefly: ignore[bad-override]
        if dy is None:
            return (skip, *(None,) * 6)
        x, mean, rstd, xbar, weight, bias, pre, conv_weight = ctx.saved_tensors
        y = group_norm_silu_again_op(x, mean, rstd, weight, bias, pre, True)
        needs = (True, *ctx.needs_input_grad[4:6])
        dx, dw, db = convolve_backward(ctx, dy, y, conv_weight, needs)
        dx, sums = group_norm_silu_backward_op(dx, x, mean, rstd, xbar, weight, bias, pre, skip, True)
        return dx, *parameter_gradients(sums, weight, bias, pre), dw, db, None


class UpsampleConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.geometry = geometry
        ctx.save_for_backward(x, weight)
        return convolve(up.upsample2x_op(x), weight, bias, geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple:  # pyrefly: ignore[bad-override]
        x, weight = ctx.saved_tensors
        dx, dw, db = convolve_backward(ctx, dy, up.upsample2x_op(x), weight, ctx.needs_input_grad[:3])
        return None if dx is None else up.upsample2x_backward_op(dx), dw, db, None
