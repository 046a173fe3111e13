"""Projections of few rows: norm, product, and gate or residual sum in one kernel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .few_rows import STEP, load_kernels, normalized, on, row_scales, tiles


@torch.library.custom_op('fvq_generators::project', mutates_args=())
def project(
    x_RD: Tensor, weight_ND: Tensor, norm_D: Tensor | None, eps: float, residual_RN: Tensor | None, gated: bool
) -> Tensor:
    """`weight x`, (R, N); gated `silu(gate x) * up x`, (R, N / 2), of the two halves of the weight.

    Args:
        x_RD: Few rows.
        weight_ND: As of `nn.Linear`.
        norm_D: Weight of an RMSNorm of x; None without.
        eps: Its epsilon.
        residual_RN: Added to the result; None for nothing.
        gated: Whether the weight is that of a gate and of what it opens.
    """

    def plain() -> Tensor:
        y = F.linear(normalized(x_RD, norm_D, eps), weight_ND)
        if gated:
            gate, up = y.chunk(2, dim=-1)
            y = F.silu(gate) * up
        return y if residual_RN is None else y + residual_RN

    def launch() -> Tensor:
        project_kernel = load_kernels('projection').project_kernel

        x, weight = x_RD.contiguous(), weight_ND.contiguous()
        residual = None if residual_RN is None else residual_RN.contiguous()
        (R, D), N = x.shape, weight.shape[0] // (2 if gated else 1)
        out, tile = x.new_empty(R, N), tiles(R)
        with on(x):
            scales = row_scales(x, eps) if norm_D is not None else None
            grid = (-(-N // tile['BM']), -(-R // tile['BR']))
            project_kernel[grid](
                x, norm_D, scales, weight, residual, out, R, N, eps,
                D=D, NORM=norm_D is not None, SCALED=scales is not None, GATED=gated, RESIDUAL=residual is not None, **tile,
            )  # fmt: skip
        return out

    return STEP.run(launch, plain) if STEP.enabled(x_RD.device) else plain()


@project.register_fake
def _(
    x_RD: Tensor, weight_ND: Tensor, norm_D: Tensor | None, eps: float, residual_RN: Tensor | None, gated: bool
) -> Tensor:
    return x_RD.new_empty(x_RD.shape[0], weight_ND.shape[0] // (2 if gated else 1))


@torch.library.custom_op('fvq_generators::project_qkv', mutates_args=('keys', 'values'))
def project_qkv(
    x_RD: Tensor,
    weight_ND: Tensor,
    norm_D: Tensor,
    eps: float,
    rotations_P2: Tensor | None,
    position: Tensor,
    keys: Tensor,
    values: Tensor,
    layer: int,
) -> Tensor:
    """Queries (R, heads, head_dim) of one new position of R sequences; their keys and values go into the cache.

    Args:
        x_RD: One row for each sequence.
        weight_ND: Query heads, key heads, value heads.
        norm_D, eps: RMSNorm of x.
        rotations_P2: Row of a rotary table, (head_dim / 2, 2) float32; None for none.
        position: int64 (1,), where in the cache, on the device.
        keys, values: (layers, R, kv_heads, T, head_dim); of each layer and sequence one piece of memory.
        layer: Which of them.
    """
    _, _, KV, T, HD = keys.shape
    R, D = x_RD.shape
    H = weight_ND.shape[0] // HD - 2 * KV

    def plain() -> Tensor:
        qkv = F.linear(normalized(x_RD, norm_D, eps), weight_ND).view(R, H + 2 * KV, HD)
        qk, v = qkv[:, : H + KV], qkv[:, H + KV :]
        if rotations_P2 is not None:
            (cos, sin), (a, b) = rotations_P2.unbind(-1), qk.float().unflatten(-1, (-1, 2)).unbind(-1)
            qk = torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2).type_as(qk)
        keys[layer].index_copy_(2, position, qk[:, H:, None].to(keys.dtype))
        values[layer].index_copy_(2, position, v[:, :, None].to(values.dtype))
        return qk[:, :H].contiguous()

    def launch() -> Tensor:
        project_qkv_kernel = load_kernels('projection').project_qkv_kernel

        x, weight = x_RD.contiguous(), weight_ND.contiguous()
        q, tile = x.new_empty(R, H, HD), tiles(R)
        with on(x):
            scales = row_scales(x, eps)
            grid = (-(-weight.shape[0] // 2 // tile['BM']), -(-R // tile['BR']))
            project_qkv_kernel[grid](
                x, norm_D, scales, weight, rotations_P2, position, q, keys[layer], values[layer],
                R, eps, H, KV, T, keys.stride(1),
                D=D, ROTATED=rotations_P2 is not None, NORM=True, SCALED=scales is not None, HALF=HD // 2, **tile,
            )  # fmt: skip
        return q

    return STEP.run(launch, plain) if STEP.enabled(x_RD.device) else plain()


@project_qkv.register_fake
def _(
    x_RD: Tensor,
    weight_ND: Tensor,
    norm_D: Tensor,
    eps: float,
    rotations_P2: Tensor | None,
    position: Tensor,
    keys: Tensor,
    values: Tensor,
    layer: int,
) -> Tensor:
    KV, HD = keys.shape[2], keys.shape[4]
    return x_RD.new_empty(x_RD.shape[0], weight_ND.shape[0] // HD - 2 * KV, HD)


@torch.library.custom_op('fvq_generators::guided_logits', mutates_args=())
def guided_logits(x_RD: Tensor, norm_D: Tensor, eps: float, weight_VD: Tensor, scale: Tensor | None) -> Tensor:
    """float32 logits (R, V) of the norm and the head; guided (R / 2, V), of rows with their condition, then those without.

    Args:
        x_RD: Few rows.
        norm_D, eps: RMSNorm of x.
        weight_VD: The head.
        scale: float32 (1,), the scale of classifier-free guidance on the device; None for none.
    """

    def plain() -> Tensor:
        logits = F.linear(normalized(x_RD, norm_D, eps), weight_VD).float()
        if scale is None:
            return logits
        conditional, unconditional = logits.chunk(2)
        return unconditional + (conditional - unconditional) * scale

    def launch() -> Tensor:
        guided_logits_kernel = load_kernels('projection').guided_logits_kernel

        x, weight = x_RD.contiguous(), weight_VD.contiguous()
        (columns, D), V = x.shape, weight.shape[0]
        rows, tile = columns // (1 if scale is None else 2), tiles(columns)
        out = torch.empty(rows, V, dtype=torch.float32, device=x.device)
        with on(x):
            scales = row_scales(x, eps)
            guided_logits_kernel[(-(-V // tile['BM']), -(-columns // tile['BR']))](
                x, norm_D, scales, weight, scale, out, rows, V, eps,
                D=D, SCALED=scales is not None, GUIDED=scale is not None, enable_fp_fusion=False, **tile,
            )  # fmt: skip
        return out

    return STEP.run(launch, plain) if STEP.enabled(x_RD.device) else plain()


@guided_logits.register_fake
def _(x_RD: Tensor, norm_D: Tensor, eps: float, weight_VD: Tensor, scale: Tensor | None) -> Tensor:
    rows = x_RD.shape[0] // (1 if scale is None else 2)
    return x_RD.new_empty(rows, weight_VD.shape[0], dtype=torch.float32)
