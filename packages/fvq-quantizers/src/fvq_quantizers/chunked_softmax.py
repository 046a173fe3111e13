"""Softmax over the codebook without an N x K matrix: a chunk of rows at a time, computed again in the backward pass.

Training takes `soft_gradient` and `soft_choice` from `soft_choices`, which keeps them out of compiled graphs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.utils.checkpoint import checkpoint

from fvq_core.ops.nearest_code import full_precision

from .shifted_logits import shifted_logits

# Scores per chunk: 2^24 floats are 64 MiB, of which at most four exist at once. Smaller chunks make slow, thin products.
MAX_SCORES = 2**24
TILE_CODES = 2**14


def over_row_chunks(function: Callable[[Tensor], Any], z_ND: Tensor, codebook_size: int) -> list[Any]:
    """`function` on chunks of rows whose scores fit in `MAX_SCORES`, each checkpointed."""
    rows = max(1, MAX_SCORES // codebook_size)
    return [checkpoint(function, chunk, use_reentrant=False) for chunk in z_ND.split(rows)]


def soft_gradient(
    z_ND: Tensor,
    codebook_KD: Tensor,
    values_KD: Tensor,
    distance: Any,
    temperature: float = 1.0,
    seed: int | None = None,
) -> Tensor:
    """Zeros (N, D) with the gradient of softmax(logits / temperature + noise) @ values.

    The forward pass costs nothing: an estimator that returns the chosen codes wants only the soft choice's gradient.

    Args:
        values_KD: What the soft choice averages; gets no gradient.
        seed: Seed of the Gumbel noise that `sampled_codes` drew; no noise by default.
    """
    return _SoftGradient.apply(z_ND, codebook_KD, values_KD.detach(), distance, temperature, seed)


@torch.no_grad()
def sampled_codes(z_ND: Tensor, codebook_KD: Tensor, distance: Any, temperature: float, seed: int) -> Tensor:
    """Indices (N,) drawn from softmax(logits / temperature) with Gumbel noise; `soft_gradient` redraws it from `seed`."""
    drawn, rows, logits_of = [], chunk_rows(codebook_KD), shifted_logits(distance, codebook_KD)
    for start in range(0, z_ND.shape[0], rows):
        logits = logits_of(z_ND[start : start + rows], codebook_KD) / temperature
        drawn.append((logits + gumbel_noise(logits.shape, logits.device, seed + start)).argmax(1))
    return torch.cat(drawn)


def soft_choice(
    z_ND: Tensor, codebook_KD: Tensor, distance: Any, temperature: float, eps: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Mean entropy of the rows' soft choices, softmax(logits / temperature), and the mean of these choices, (K,).

    Both are means over the rows of this rank.

    Args:
        eps: Smallest probability inside the entropy's logarithm, log(max(p, eps)); 0 for the plain logarithm.
    """
    return _SoftChoice.apply(z_ND, codebook_KD, distance, temperature, eps)


def chunk_rows(codebook_KD: Tensor) -> int:
    """How many rows have scores that fit in `MAX_SCORES`."""
    return max(1, MAX_SCORES // codebook_KD.shape[0])


def gumbel_noise(shape: torch.Size, device: torch.device, seed: int) -> Tensor:
    """Standard Gumbel noise that a backward pass can redraw, independent of the global generator."""
    generator = torch.Generator(device).manual_seed(seed)
    noise = torch.empty(shape, device=device).exponential_(generator=generator)
    return noise.clamp_(min=torch.finfo(noise.dtype).tiny).log_().neg_()


class _SoftGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, z_ND: Tensor, codebook_KD: Tensor, values_KD: Tensor, *options: Any) -> Tensor:
        ctx.save_for_backward(z_ND, codebook_KD, values_KD)
        cast(Any, ctx).options = options
        return z_ND.new_zeros(z_ND.shape[0], values_KD.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Any, ...]:  # pyrefly: ignore[bad-override]
        z_ND, codebook_KD, values_KD = ctx.saved_tensors
        distance, temperature, seed = ctx.options

        def logit_gradient(rows: slice, logits: Tensor) -> Tensor:
            logits.div_(temperature)
            if seed is not None:
                logits += gumbel_noise(logits.shape, logits.device, seed + rows.start)
            p = logits.softmax(1)
            return through_softmax(p, grad_ND[rows] @ values_KD.t()).div_(temperature)

        return *gradients(z_ND, codebook_KD, distance, ctx.needs_input_grad, logit_gradient), None, None, None, None


class _SoftChoice(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, z_ND: Tensor, codebook_KD: Tensor, distance: Any, temperature: float, eps: float
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(z_ND, codebook_KD)
        cast(Any, ctx).options = (distance, temperature, eps)
        sample_entropy, mean_K = z_ND.new_zeros(()), z_ND.new_zeros(codebook_KD.shape[0])
        logits_of = shifted_logits(distance, codebook_KD)
        for z in z_ND.split(chunk_rows(codebook_KD)):
            p, log_p = probabilities(logits_of(z, codebook_KD) / temperature)
            mean_K += p.sum(0)
            sample_entropy -= torch.linalg.vecdot(p, log_p.clamp_(min=math.log(eps)) if eps else log_p).sum()
        N = z_ND.shape[0]
        return sample_entropy / N, mean_K / N

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore[bad-override]
        ctx: Any, grad_entropy: Tensor, grad_K: Tensor
    ) -> tuple[Any, ...]:
        z_ND, codebook_KD = ctx.saved_tensors
        distance, temperature, eps = ctx.options

        def logit_gradient(rows: slice, logits: Tensor) -> Tensor:
            p, log_p = probabilities(logits.div_(temperature))
            # d/dp of -p log max(p, eps); a softmax ignores its last term if no p is clamped
            slope = -(log_p.clamp_(min=math.log(eps)) + (p > eps)) if eps else log_p.neg_()
            return through_softmax(p, slope.mul_(grad_entropy).add_(grad_K)).div_(temperature * z_ND.shape[0])

        return *gradients(z_ND, codebook_KD, distance, ctx.needs_input_grad, logit_gradient), None, None, None


def probabilities(logits_NK: Tensor) -> tuple[Tensor, Tensor]:
    """softmax and its logarithm; overwrites the logits.

    At low temperatures most probabilities underflow, and exp(log_softmax) would be ten times slower.
    """
    p_NK = logits_NK.softmax(1)
    log_sum_N1 = logits_NK.amax(1, keepdim=True) - p_NK.amax(1, keepdim=True).log_()
    return p_NK, logits_NK.sub_(log_sum_N1)


def through_softmax(p_NK: Tensor, grad_NK: Tensor) -> Tensor:
    """The gradient of a softmax's logits from the gradient of its output; overwrites `grad_NK`."""
    inner_N1 = torch.linalg.vecdot(p_NK, grad_NK).unsqueeze(1)
    return grad_NK.sub_(inner_N1).mul_(p_NK)


def gradients(
    z_ND: Tensor, codebook_KD: Tensor, distance: Any, needed: tuple[bool, ...], logit_gradient: Any
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of latents and codes, if needed, from that of their logits, a chunk of rows at a time.

    Within a chunk the codes are split into tiles, whose gradients add up in place in one K x D tensor: the memory traffic
    of a gradient of all codes per chunk would take as long as the matrix products.
    """
    z_ND, grad_KD = z_ND.detach().requires_grad_(needed[0]), torch.zeros_like(codebook_KD)
    tiles = [codes.detach().requires_grad_(needed[1]) for codes in codebook_KD.split(TILE_CODES)]
    if needed[1]:
        for codes, grad in zip(tiles, grad_KD.split(TILE_CODES), strict=True):
            codes.grad = grad
    rows_at_once, logits_of = chunk_rows(codebook_KD), shifted_logits(distance, codebook_KD)
    with full_precision(z_ND.device.type):  # a backward pass runs outside the contexts of its forward pass
        for start in range(0, z_ND.shape[0], rows_at_once):
            rows = slice(start, start + rows_at_once)
            with torch.enable_grad():
                scores = [logits_of(z_ND[rows], codes) for codes in tiles]
            slope_NK = logit_gradient(rows, torch.cat([part.detach() for part in scores], 1))
            torch.autograd.backward(scores, slope_NK.split(TILE_CODES, 1))
    return z_ND.grad, grad_KD if needed[1] else None
