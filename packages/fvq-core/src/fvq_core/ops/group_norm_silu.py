"""GroupNorm and SiLU in one operator for channels-last features, with the bias of the convolution before folded in.

CUDA's GroupNorm returns contiguous (N, C, H, W) whatever it is given, so that each convolution around it copies its input
and its gradient, and autocast runs it in float32. The operator keeps features channels-last and in their type, sums in
float32, and saves x and two numbers a group for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .channels_last import (
    autocast,
    channels_last,
    device_of,
    empty_channels_last,
    empty_float,
    fused,
    load_kernels,
    power_of_2,
)
from .kernels import Kernel

KERNEL = Kernel('group_norm_silu')
TILE = 4096  # elements: 32 a thread with 4 warps, four 16-byte loads in bfloat16
PROGRAMS = 2048  # about, of the two kernels that reduce; not read from the device, so that sums are the same everywhere
WARPS = 4
ITERS = 4  # tiles of a program of the two kernels that apply


def apply_group_norm(
    x: Tensor, norm: nn.GroupNorm, silu: bool = False, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """The norm of features (N, C, H, W), then SiLU if wished.

    Args:
        x: Features.
        norm: Its groups, eps, weight and bias are used; a subclass or hooks of it are not called by the fused operator.
        silu: Whether SiLU follows.
        weight, bias: (N, C), for a norm without its own.
    """
    if fused(KERNEL, x):
        weight, bias = (norm.weight, norm.bias) if weight is None else (weight, bias)
        return group_norm_silu_op(autocast(x), weight, bias, None, norm.num_groups, norm.eps, silu)[0]
    y = norm(x)
    if weight is not None and bias is not None:
        y = y * weight[:, :, None, None] + bias[:, :, None, None]
    return F.silu(y) if silu else y


def sizes(N: int, C: int, S: int, G: int) -> dict[str, Any]:
    """Blocks, and how the rows of an image are split among the programs of a kernel that reduces."""
    D, BC = C // G, power_of_2(C)
    BS = max(1, TILE // BC)
    tiles = -(-S // BS)
    splits = max(1, min(PROGRAMS // N, tiles // 4, 256, max(1, 16384 // power_of_2(D))))
    rows = -(-tiles // splits) * BS
    splits, blocks = -(-S // rows), -(-S // (BS * ITERS))
    BD, BP = power_of_2(D), max(32, power_of_2(splits))
    return dict(
        reduced=dict(splits=splits, rows=rows),
        applied=dict(blocks=blocks),
        groups=dict(G=G, D=D, BD=BD, BP=BP, num_warps=max(1, min(8, BD * power_of_2(splits) // 1024))),
        reduce=dict(C=C, BC=BC, BS=BS, EVEN=BC == C and S % rows == 0, num_warps=WARPS),
        apply=dict(C=C, BC=BC, BS=BS, ITERS=ITERS, EVEN=BC == C and S % (BS * ITERS) == 0, num_warps=WARPS),
    )


def row_stride(weight: Tensor) -> int:
    """Elements between the weights of two images: 0 for weights (C,)."""
    return 0 if weight.dim() == 1 else weight.shape[1]


def per_channel(values: Tensor) -> Tensor:
    """(C,) or (N, C) as float32 (1 or N, C, 1, 1)."""
    return values.float().view(-1, values.shape[-1], 1, 1)


def standardized(x: Tensor, pre: Tensor | None, mean: Tensor, rstd: Tensor) -> Tensor:
    """(x + pre - mean) * rstd in float32, in x's shape."""
    x = x.float() if pre is None else x.float() + per_channel(pre)
    return ((x.reshape(*mean.shape, -1) - mean[..., None]) * rstd[..., None]).view(x.shape)


@torch.library.custom_op('fvq::group_norm_silu', mutates_args=())
def group_norm_silu_op(
    x: Tensor, weight: Tensor, bias: Tensor, pre: Tensor | None, groups: int, eps: float, silu: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """silu(group_norm(x + pre)), channels-last in x's type; mean and 1 / deviation (N, G); means of the standardized (N, C)."""
    x, y = channels_last(x), empty_channels_last(x)
    N, C, H, W = x.shape
    mean, rstd = empty_float(x, N, groups), empty_float(x, N, groups)
    xbar = empty_float(x, *((0,) if pre is None else (N, C)))

    def launch() -> None:
        kernels = load_kernels('group_norm')
        S, D = H * W, C // groups
        a = sizes(N, C, S, groups)
        splits, rows = a['reduced'].values()
        parts, given = empty_float(x, 2, N * C * splits), weight if pre is None else pre
        has_pre = pre is not None
        kernels.stats[(N * splits,)](x, parts[0], parts[1], S, splits, rows, **a['reduce'])
        kernels.finish[(N * groups,)](
            *(parts[0], parts[1], given, mean, rstd, xbar, S, splits, rows, eps, 1.0 / S, 1.0 / (S * D)),
            **a['groups'],
            HAS_PRE=has_pre,
        )
        launch_apply(x, y, mean, rstd, weight, bias, pre, silu)

    def plain() -> None:
        given = x.float() if pre is None else x.float() + per_channel(pre)
        variance, middle = torch.var_mean(given.reshape(N, groups, -1), -1, correction=0)
        mean.copy_(middle)
        rstd.copy_((variance + eps).rsqrt())
        xhat = standardized(x, pre, mean, rstd)
        if pre is not None:
            xbar.copy_(xhat.mean((2, 3)))
        z = xhat * per_channel(weight) + per_channel(bias)
        y.copy_(F.silu(z) if silu else z)

    if x.numel():
        with device_of(x):
            KERNEL.run(launch, plain) if KERNEL.enabled(x.device) else plain()
    return y, mean, rstd, xbar


def launch_apply(
    x: Tensor, y: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, bias: Tensor, pre: Tensor | None, silu: bool
) -> None:
    kernels = load_kernels('group_norm')
    N, C, H, W = x.shape
    groups = mean.shape[1]
    a = sizes(N, C, H * W, groups)
    blocks = a['applied']['blocks']
    kernels.apply[(N * blocks,)](
        *(x, y, mean, rstd, weight, bias, weight if pre is None else pre, H * W, blocks, row_stride(weight)),
        **a['apply'],
        G=groups,
        D=C // groups,
        SILU=silu,
        FAST=x.is_cuda,
        HAS_PRE=pre is not None,
    )


@torch.library.custom_op('fvq::group_norm_silu_again', mutates_args=())
def group_norm_silu_again_op(
    x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, bias: Tensor, pre: Tensor | None, silu: bool
) -> Tensor:
    """The first output of `group_norm_silu_op` from its second and third: one pass instead of two."""
    x, y = channels_last(x), empty_channels_last(x)

    def plain() -> None:
        z = standardized(x, pre, mean, rstd) * per_channel(weight) + per_channel(bias)
        y.copy_(F.silu(z) if silu else z)

    if x.numel():
        with device_of(x):
            if KERNEL.enabled(x.device):
                KERNEL.run(lambda: launch_apply(x, y, mean, rstd, weight, bias, pre, silu), plain)
            else:
                plain()
    return y


@torch.library.custom_op('fvq::group_norm_silu_backward', mutates_args=())
def group_norm_silu_backward_op(
    dy: Tensor,
    x: Tensor,
    mean: Tensor,
    rstd: Tensor,
    xbar: Tensor,
    weight: Tensor,
    bias: Tensor,
    pre: Tensor | None,
    skip: Tensor | None,
    silu: bool,
) -> tuple[Tensor, Tensor]:
    """The gradient of x, plus `skip`, and those of weight, bias and pre (0 without it) for each image: (3, N, C) float32."""
    dy, x, dx = channels_last(dy), channels_last(x), empty_channels_last(x)
    N, C, H, W = x.shape
    G, has_pre = mean.shape[1], pre is not None
    skip = None if skip is None else channels_last(skip)
    sums = x.new_zeros(3, N, C, dtype=torch.float32)

    def launch() -> None:
        kernels = load_kernels('group_norm')
        S = H * W
        a = sizes(N, C, S, G)
        splits, rows = a['reduced'].values()
        blocks, stride = a['applied']['blocks'], row_stride(weight)
        parts, ends, given = empty_float(x, 2, N * C * splits), empty_float(x, 2, N * G), weight if pre is None else pre
        flags = dict(G=G, D=C // G, SILU=silu, FAST=x.is_cuda, HAS_PRE=has_pre)
        kernels.reduce[(N * splits,)](
            *(dy, x, mean, rstd, weight, bias, given, parts[0], parts[1], S, splits, rows, stride),
            **a['reduce'],
            **flags,
        )
        kernels.finish_b[(N * G,)](
            *(parts[0], parts[1], weight, rstd, xbar, sums, ends[0], ends[1], splits, N * C, stride),
            *(float(S), 1.0 / (S * (C // G))),
            **a['groups'],
            HAS_PRE=has_pre,
        )
        kernels.apply_b[(N * blocks,)](
            *(
                dy,
                x,
                dy if skip is None else skip,
                dx,
                mean,
                rstd,
                weight,
                bias,
                given,
                ends[0],
                ends[1],
                S,
                blocks,
                stride,
            ),
            **a['apply'],
            **flags,
            HAS_SKIP=skip is not None,
        )

    def plain() -> None:
        xhat, w, g = standardized(x, pre, mean, rstd), per_channel(weight), dy.float()
        if silu:
            z = xhat * w + per_channel(bias)
            s = torch.sigmoid(z)
            g = g * (s * (1 + z * (1 - s)))
        gw, xg = (g * w).reshape(N, G, -1), xhat.reshape(N, G, -1)
        out = gw - gw.mean(-1, keepdim=True) - xg * (gw * xg).mean(-1, keepdim=True)
        out = (rstd[..., None] * out).view(x.shape)
        dx.copy_(out if skip is None else out + skip)
        sums[0], sums[1] = (g * xhat).sum((2, 3)), g.sum((2, 3))
        if has_pre:
            sums[2] = out.sum((2, 3))

    if x.numel():
        with device_of(x):
            KERNEL.run(launch, plain) if KERNEL.enabled(x.device) else plain()
    return dx, sums


@group_norm_silu_op.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, pre: Tensor | None, groups: int, eps: float, silu: bool) -> Any:
    N, C = x.shape[:2]
    xbar = empty_float(x, *((0,) if pre is None else (N, C)))
    return empty_channels_last(x), empty_float(x, N, groups), empty_float(x, N, groups), xbar


@group_norm_silu_again_op.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return empty_channels_last(x)


@group_norm_silu_backward_op.register_fake
def _(dy: Tensor, x: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return empty_channels_last(x), empty_float(x, 3, *x.shape[:2])


def parameter_gradients(sums: Tensor, weight: Tensor, bias: Tensor, pre: Tensor | None) -> list[Tensor | None]:
    """The gradients of weight, bias and pre in their types and shapes, from those for each image."""
    parameters = zip(sums.unbind(0), (weight, bias, pre), strict=True)
    return [None if p is None else (s.sum(0) if p.dim() == 1 else s).to(p.dtype) for s, p in parameters]


def setup(ctx: Any, inputs: tuple, output: tuple) -> None:
    x, weight, bias, pre, _, _, ctx.silu = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, *output[1:], weight, bias, pre)


def backward(ctx: Any, dy: Tensor | None, *_: Any) -> tuple:
    if dy is None:
        return (None,) * 7
    saved = ctx.saved_tensors  # once: checkpointing allows no second time
    dx, sums = group_norm_silu_backward_op(dy, *saved, None, ctx.silu)
    return dx, *parameter_gradients(sums, *saved[4:]), None, None, None


group_norm_silu_op.register_autograd(backward, setup_context=setup)
