"""A token of each row from one number a row, without sorting: the same on every device and in every batch."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.ops.kernels import Kernel

from .few_rows import load_kernels, on, power_of_2

DRAW = Kernel('draw')
BLOCK = 8192  # tokens that a program looks at in one piece
ONE = 2.0**40  # weight of the likeliest token; sums of 2^23 tokens fit int64


@torch.library.custom_op('fvq_generators::draw_token', mutates_args=())
def draw_token(logits_BV: Tensor, uniform_B: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """One token of each row by inverting the cumulative distribution of what top-k and then top-p leave, int64 (B,).

    **Exact by integers.** A token weighs `floor(2^40 exp(logit - largest))`, with exp in float64: integers, whose sums depend
    on no order, so that blocks, batches and devices cannot change them. The k-th largest logit and the edge of the nucleus
    are found by bisection of float32's bits, 32 steps, instead of a sort. Of tokens that tie on the edge of the nucleus the
    first are kept. The token is the first whose cumulative weight exceeds `uniform x total`.

    Against real arithmetic each cumulative share is off by at most `V 2^-40`, 2e-8 of 16,384 tokens: a draw differs only if
    its number lies within that of the border between two tokens. `Sampler` in plain torch takes a float32 softmax, whose
    shares are off by some 1e-6; so the two differ in about one of a million draws. A token that is 2^40 times less likely
    than the likeliest is never drawn.

    Args:
        logits_BV: float32, no NaN, one of each row finite.
        uniform_B: float64 in [0, 1).
        temperature: Logits are divided by it.
        top_k: Keep the k largest, and all that equal the k-th; 0 keeps every token.
        top_p: See `fvq_generators.sampling.filter_logits`; 1 keeps every token.
    """

    def plain() -> Tensor:
        x_BV = logits_BV / temperature if temperature != 1.0 else logits_BV
        if 0 < top_k < x_BV.shape[1]:
            x_BV = x_BV.masked_fill(x_BV < x_BV.topk(top_k, dim=-1).values[:, -1:], -torch.inf)
        weights_BV = ((x_BV.double() - x_BV.amax(-1, keepdim=True).double()).exp() * ONE).long()
        if top_p < 1.0:
            order = x_BV.sort(descending=True, stable=True, dim=-1).indices
            ordered = weights_BV.gather(1, order)
            cumulative = ordered.cumsum(-1)
            allowed = (top_p * cumulative[:, -1:].double()).long()
            weights_BV = torch.zeros_like(ordered).scatter(1, order, ordered * (cumulative - ordered <= allowed))
        cumulative_BV = weights_BV.cumsum(-1)
        total_B1 = cumulative_BV[:, -1:].clone()
        wanted_B1 = (uniform_B[:, None] * total_B1.double()).long().minimum(total_B1 - 1)
        return torch.searchsorted(cumulative_BV, wanted_B1, right=True)[:, 0]

    def launch() -> Tensor:
        draw_kernel = load_kernels('draw').draw_kernel

        (B, V), block = logits_BV.shape, min(power_of_2(logits_BV.shape[1]), BLOCK)
        tokens_B = torch.empty(B, dtype=torch.int64, device=logits_BV.device)
        with on(logits_BV):
            draw_kernel[(B,)](
                logits_BV.contiguous(), uniform_B.contiguous(), tokens_B, temperature,
                V=V, TOP_K=top_k if top_k < V else 0, TOP_P=top_p, TEMPERED=temperature != 1.0, ONE=ONE, BLOCK=block,
                num_warps=max(4, min(16, block // 512)), enable_fp_fusion=False,
            )  # fmt: skip
        return tokens_B

    return DRAW.run(launch, plain) if DRAW.enabled(logits_BV.device) else plain()


@draw_token.register_fake
def _(logits_BV: Tensor, uniform_B: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    return logits_BV.new_empty(logits_BV.shape[0], dtype=torch.int64)
