"""Drawing stacks of residual codes: position after position, and depth after depth at each, with a cache of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Codes

from .layers import GPTBlock, KVCache, StackClassifier, StackEmbedding
from .sampling import Pick, check_logits, guide, uniforms


class StackModel(Protocol):
    """What drawing asks of a model, which is a module in eval mode; see `RQTransformer`."""

    layout: CodeLayout
    condition: Any
    positions: nn.Parameter
    depth_positions: nn.Parameter
    embedding: StackEmbedding
    classifier: StackClassifier
    body: Any
    head: Any

    def codebooks(self) -> list[Tensor]: ...

    def condition_tokens(self, cond: Tensor) -> Tensor: ...

    def run(self, blocks: Any, x_BLD: Tensor, cache: KVCache | None = None, position: int = 0) -> Tensor: ...


def new_cache(model: StackModel, blocks: Sequence[GPTBlock], rows: int, length: int) -> KVCache:
    """An empty cache of the body or of the head."""
    attention, weight = blocks[0].attention, model.positions
    return KVCache(len(blocks), rows, attention.heads, length, attention.head_dim, weight.dtype, weight.device)


def body_length(model: StackModel) -> int:
    """Tokens that the body reads: the condition, and all positions but the last."""
    return model.condition.tokens + model.layout.positions.length - 1


def cache_bytes(model: StackModel) -> int:
    """Bytes of the caches of one image."""
    tokens = len(model.body) * body_length(model) + len(model.head) * model.layout.slots
    return 2 * tokens * model.positions.shape[1] * model.positions.element_size()


@torch.no_grad()
def draw_stacks(
    model: StackModel,
    cond: Tensor,
    seeds: Sequence[int],
    cfg_scale: float,
    pick: Pick,
    given: Codes | None = None,
    keep_BL: Tensor | None = None,
) -> Codes:
    """Codes of each condition.

    Args:
        model: Generator in eval mode.
        cond: (B,) or (B, T), on the model's device.
        seeds: One for each condition.
        cfg_scale: Scale of guidance; above 1 each image is read twice, with the condition and without.
        pick: How a code is chosen.
        given, keep_BL: Codes that are kept. The head is not asked at positions where all are.

    Raises:
        UserError: Logits that are not finite.
    """
    layout, B, guided = model.layout, len(cond), cfg_scale > 1.0
    N, slots = layout.positions.length, layout.slots
    uniform_BNd = uniforms(seeds, layout.length).to(cond.device).view(B, N, slots)
    codes_BNd = torch.zeros(B, N, slots, dtype=torch.int64, device=cond.device)
    keep_BNd, whole = None, [False] * N
    if given is not None and keep_BL is not None:
        keep_BNd = keep_BL.view(B, N, slots)
        whole = keep_BNd.all(-1).all(0).tolist()
        codes_BNd = torch.where(keep_BNd, given.indices_BL.view(B, N, slots), codes_BNd)
    copies = 2 if guided else 1
    cond = torch.cat([cond, model.condition.null(cond)]) if guided else cond
    codebooks = model.codebooks()
    body = new_cache(model, model.body, copies * B, body_length(model))
    head = new_cache(model, model.head, copies * B, slots)
    x_BLD, position = model.condition_tokens(cond), 0
    for place in range(N):
        context_B1D = model.run(model.body, x_BLD, body, position)[:, -1:]
        position += x_BLD.shape[1]
        for depth in range(0 if whole[place] else slots):
            token_B1D = context_B1D
            if depth:
                above = codes_BNd[:, place : place + 1, :depth].repeat(copies, 1, 1)
                token_B1D = model.embedding.depth_tokens(above, codebooks)[:, 0, -1:]
            x_B1D = model.run(model.head, token_B1D + model.depth_positions[depth], head, depth)
            logits_BV = model.classifier(x_B1D[:, 0], depth)
            logits_BV = guide(logits_BV, cfg_scale) if guided else logits_BV
            if not (place or depth):
                check_logits(logits_BV)
            drawn_B = pick(logits_BV, uniform_BNd[:, place, depth])
            if keep_BNd is not None:
                drawn_B = torch.where(keep_BNd[:, place, depth], codes_BNd[:, place, depth], drawn_B)
            codes_BNd[:, place, depth] = drawn_B
        tokens_B1D = model.embedding.positions(codes_BNd[:, place : place + 1], codebooks)
        x_BLD = (tokens_B1D + model.positions[place]).repeat(copies, 1, 1)
    return Codes(codes_BNd.flatten(1), layout)
