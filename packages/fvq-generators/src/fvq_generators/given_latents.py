"""Latents of images of which a part is kept while a model draws the others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fvq_core.codes import LatentLayout, Latents
from fvq_core.errors import UserError

from .patches import Patches


def check_given_latents(owner: str, layout: LatentLayout, given: Any, keep_BL: Any, count: int) -> None:
    """`Generator.check_given` for a model of latents; `keep_BL` has the positions of the latents, in reading order."""
    if given is None and keep_BL is None:
        return
    if not isinstance(given, Latents):
        raise UserError(
            f'{owner}: expected Latents, got {type(given).__name__}; Latents(autoencoder.encode_latent(images), layout).'
        )
    if given.layout != layout or len(given) != count:
        raise UserError(
            f'{owner}: expected given latents of {count} images on {layout}, got {len(given)} on {given.layout}.'
        )
    shape = (count, layout.positions.length)
    if not isinstance(keep_BL, Tensor) or keep_BL.dtype != torch.bool or tuple(keep_BL.shape) != shape:
        got = f'{keep_BL.dtype} {tuple(keep_BL.shape)}' if isinstance(keep_BL, Tensor) else type(keep_BL).__name__
        raise UserError(
            f'{owner}: keep_BL is a bool tensor {shape}, True for the given latents that are kept, got {got}.'
        )
    if not given.values.isfinite().all():
        raise UserError(f'{owner}: given latents are not finite; encode the pictures again.')


def kept_patches(patching: Patches, keep_BL: Tensor) -> Tensor:
    """Which patches are kept, those of which all positions are: bool (B, patches)."""
    return patching.split(keep_BL.view(-1, 1, *patching.shape).float()).bool().all(2)


def with_given(patching: Patches, values_BDHW: Tensor, given: Latents | None, kept_BL: Tensor) -> Tensor:
    """Latents with those of kept patches as they were given, to the bit."""
    if given is None:
        return values_BDHW
    kept = patching.join(kept_BL[..., None].expand(-1, -1, patching.side**2).float()).bool()
    return torch.where(kept, given.values.to(values_BDHW), values_BDHW)


def kept_last(order_BL: Tensor, kept_BL: Tensor) -> Tensor:
    """The same order, but for what is kept, which is moved to its end."""
    return order_BL.gather(1, kept_BL.gather(1, order_BL).to(torch.uint8).argsort(dim=1, stable=True))
