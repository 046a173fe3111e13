"""Cross-entropy of codes without the logits of a whole batch."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# Logits that exist at once: 128 MiB in float32. With V = 262,144 these are 128 rows.
ELEMENTS_AT_ONCE = 2**25


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Weighted sum of the rows' cross-entropies. The gradients are made beside the loss, chunk by chunk, while a chunk's
    logits are there: nothing of size N x V is kept, and no logits are computed twice."""

    @staticmethod
    def forward(  # pyrefly: ignore[bad-override]
        ctx: Any,
        x_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        row_weights_N: Tensor,
        smoothing: float,
        rows: int,
        training: bool,
    ) -> Tensor:
        dtype, wide = x_ND.dtype, torch.promote_types(x_ND.dtype, torch.float32)
        if torch.is_autocast_enabled(x_ND.device.type):
            dtype = torch.get_autocast_dtype(x_ND.device.type)
        wants_x, wants_weight, wants_bias = (training and wanted for wanted in ctx.needs_input_grad[:3])
        cast_VD, cast_V = weight_VD.to(dtype), None if bias_V is None else bias_V.to(dtype)
        grad_ND = torch.empty_like(x_ND) if wants_x else None
        grad_VD = torch.zeros_like(weight_VD, dtype=wide) if wants_weight else None
        grad_V = torch.zeros_like(bias_V, dtype=wide) if wants_bias and bias_V is not None else None
        total = x_ND.new_zeros((), dtype=wide)
        with torch.autocast(x_ND.device.type, enabled=False):
            for first in range(0, len(x_ND), rows):
                part = slice(first, first + rows)
                x, targets, weights = x_ND[part].to(dtype), targets_N[part], row_weights_N[part]
                logits = F.linear(x, cast_VD, cast_V).to(wide)
                logsumexp = logits.logsumexp(-1)
                likely = (1.0 - smoothing) * logits.gather(1, targets[:, None])[:, 0]
                if smoothing:
                    likely = likely + smoothing * logits.mean(-1)
                total += (weights * (logsumexp - likely)).sum()
                if grad_ND is None and grad_VD is None and grad_V is None:
                    continue
                # d / d logits = weight x (softmax - smoothed one_hot), in the logits' own memory
                p = logits.sub_(logsumexp[:, None]).exp_()
                p.scatter_add_(1, targets[:, None], p.new_full((len(p), 1), smoothing - 1.0))
                if smoothing:
                    p.sub_(smoothing / p.shape[1])
                p = p.mul_(weights[:, None])
                if grad_V is not None:
                    grad_V += p.sum(0)
                p = p.to(dtype)
                if grad_ND is not None:
                    grad_ND[part] = p @ cast_VD
                if grad_VD is not None:
                    grad_VD += p.t() @ x
        ctx.save_for_backward(
            grad_ND,
            None if grad_VD is None else grad_VD.to(weight_VD.dtype),
            None if grad_V is None or bias_V is None else grad_V.to(bias_V.dtype),
        )
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyrefly: ignore[bad-override]
        gradients = (None if each is None else each * grad.to(each.dtype) for each in ctx.saved_tensors)
        return (*gradients, *(None,) * 5)


def chunked_cross_entropy(
    x_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    row_weights_N: Tensor | None = None,
    rows: int | None = None,
    *,
    bias_V: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The mean cross-entropy of `x_ND @ weight_VD.T + bias_V` against the targets.

    Equal to `F.cross_entropy` of the float32 logits, with its gradients, at a memory of two chunks of them. Under autocast the
    products are computed in its dtype, and sums over rows in float32.

    Args:
        x_ND: What the head reads.
        weight_VD: The head's matrix.
        targets_N: int64.
        row_weights_N: A weight for each row. The loss is then the weighted sum over `max(sum of weights, 1)`, as LlamaGen's
            for captions.
        rows: Rows at once; by default as many as make 2^25 logits.
        bias_V: The head's bias, if it has one.
        label_smoothing: This share of each target is spread evenly over all V classes.
    """
    if row_weights_N is None:
        row_weights_N = torch.full((len(x_ND),), 1.0 / max(len(x_ND), 1), device=x_ND.device)
    else:
        row_weights_N = row_weights_N.float() / row_weights_N.sum().float().clamp(min=1.0)
    rows = rows or max(1, ELEMENTS_AT_ONCE // len(weight_VD))
    arguments = (x_ND, weight_VD, bias_V, targets_N, row_weights_N, label_smoothing, rows, torch.is_grad_enabled())
    return cast(Tensor, _ChunkedCrossEntropy.apply(*arguments))


def soft_cross_entropy(x_ND: Tensor, classifier: nn.Linear, soft_NV: Tensor, rows: int | None = None) -> Tensor:
    """The mean cross-entropy of `classifier(x_ND)` against distributions, a chunk of rows at a time.

    Args:
        x_ND: What the classifier reads.
        classifier: To V logits.
        soft_NV: Probabilities.
        rows: See `chunked_cross_entropy`.
    """
    rows = rows or max(1, ELEMENTS_AT_ONCE // classifier.out_features)

    def chunk(x: Tensor, soft: Tensor) -> Tensor:
        return -(soft * classifier(x).float().log_softmax(-1)).sum()

    total = x_ND.new_zeros((), dtype=torch.float32)
    for x, soft in zip(x_ND.split(rows), soft_NV.split(rows), strict=True):
        again = torch.is_grad_enabled()  # computes the logits of a chunk once more in the backward pass
        total = total + (cast(Tensor, checkpoint(chunk, x, soft, use_reentrant=False)) if again else chunk(x, soft))
    return total / max(1, len(x_ND))


def bits_cross_entropy(logits_NS2: Tensor, bits_NS: Tensor, row_weights_N: Tensor | None = None) -> Tensor:
    """The mean over rows and bits of the cross-entropy of S binary choices, in nats.

    Not in chunks: the 2 S logits of a row are fewer than the channels that they are made of.

    Args:
        logits_NS2: float32 logits of both values of each bit.
        bits_NS: 0 or 1.
        row_weights_N: A weight for each row; the loss is then the weighted mean.
    """
    off_NS, on_NS = logits_NS2.unbind(-1)
    losses_N = F.binary_cross_entropy_with_logits(on_NS - off_NS, bits_NS.float(), reduction='none').mean(-1)
    return losses_N.mean() if row_weights_N is None else (losses_N * row_weights_N).sum() / row_weights_N.sum()
