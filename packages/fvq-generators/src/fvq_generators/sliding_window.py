"""Images larger than a model was trained on: each code is drawn from the window around it (Esser et al., 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.codes import Grid

from .cached_generator import CachedGenerator
from .layers import KVCache
from .sampling import Pick


@torch.no_grad()
def draw_in_windows(model: CachedGenerator, cond: Tensor, grid: Grid, uniforms_BL: Tensor, pick: Pick) -> Tensor:
    """Codes (B, H W) of a larger grid, in reading order.

    The window has the model's size, and its middle is the code to draw unless an edge is near. As long as it stays where it is,
    which is so along the edges, its cache goes on; elsewhere it is read again.

    Args:
        model: In eval mode; of a grid no larger than this one, without guidance.
        cond: (B,).
        grid: H rows and W columns.
        uniforms_BL: One number in [0, 1) for each code, on the model's device.
        pick: See `decode`.
    """
    size = model.layout.positions
    assert isinstance(size, Grid)
    codes_BHW = torch.zeros(len(cond), grid.height, grid.width, dtype=torch.int64, device=uniforms_BL.device)
    last, read, cache = (-1, -1), 0, None
    for number in range(grid.length):
        row, column = divmod(number, grid.width)
        top = min(max(row - size.height // 2, 0), grid.height - size.height)
        left = min(max(column - size.width // 2, 0), grid.width - size.width)
        window_BL = codes_BHW[:, top : top + size.height, left : left + size.width].flatten(1)
        known = (row - top) * size.width + column - left
        if cache is None or last != (top, left):
            cache = model.new_cache(len(cond))
            logits_BV = model.prefill(cond, cache, known_BL=window_BL[:, :known])
        else:
            logits_BV = read_on(model, window_BL[:, read:known], cache, read)
        last, read = (top, left), known
        codes_BHW[:, row, column] = pick(logits_BV, uniforms_BL[:, number])
    return codes_BHW.flatten(1)


def read_on(model: CachedGenerator, codes_BL: Tensor, cache: KVCache, first: int) -> Tensor:
    """Logits (B, V) after more codes of a window."""
    if codes_BL.shape[1] == 1:
        return model.step(codes_BL[:, 0], cache, model.condition.tokens + first)
    x_BLD = model.extend(model.embed(codes_BL, first), cache, model.condition.tokens + first)
    return model.logits(x_BLD[:, -1])
