"""Codes and latents, and how they are arranged on the image: the contract between tokenizers and generators."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from .errors import UserError
from .latents import LatentLayout, Latents
from .positions import Grid, Positions, Pyramid, Sequence, check_size, positions_from_dict

__all__ = ['CodeLayout', 'Codes', 'Grid', 'LatentLayout', 'Latents', 'Positions', 'Pyramid', 'Sequence', 'Targets']


@dataclass(frozen=True, init=False)
class CodeLayout:
    """How the L codes of one image are arranged, and how many values each may take: positions x slots.

    Codes of a batch are an int64 tensor (B, L) in reading order; all slots of a position are neighbours.

    Args:
        positions: What the codes belong to; the encoder chooses.
        vocabularies: The number of values of each slot of a position; the quantizer chooses. One number for one code a
            position; several for residual depths or product groups.
    """

    positions: Positions
    vocabularies: tuple[int, ...]

    def __init__(self, positions: Positions, vocabularies: int | tuple[int, ...] | list[int]) -> None:
        if not isinstance(positions, Positions):
            raise UserError(f'CodeLayout: expected positions such as Grid(16, 16), got {positions!r}.')
        sizes = tuple(vocabularies) if isinstance(vocabularies, list | tuple) and vocabularies else (vocabularies,)
        object.__setattr__(self, 'positions', positions)
        object.__setattr__(self, 'vocabularies', tuple(check_size('CodeLayout', size) for size in sizes))

    def __str__(self) -> str:
        sizes = ' x '.join(f'{size:,}' for size in self.vocabularies)
        return f'{self.positions} of {sizes} codes'

    @property
    def slots(self) -> int:
        """The number of codes at each position: 1, residual depth or product groups."""
        return len(self.vocabularies)

    @property
    def length(self) -> int:
        """L, the number of codes of one image."""
        return self.positions.length * self.slots

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image's codes: that of the positions, with the slots behind if there are several."""
        return (*self.positions.shape, self.slots) if self.slots > 1 else self.positions.shape

    @property
    def vocab_size(self) -> int:
        """The largest vocabulary of any slot: what an embedding table must hold."""
        return max(self.vocabularies)

    def unflatten(self, indices_BL: Tensor) -> Tensor:
        """(B, L) to (B, *shape)."""
        self.check_length('unflatten', indices_BL)
        return indices_BL.reshape(-1, *self.shape)

    def flatten(self, indices: Tensor) -> Tensor:
        """(B, *shape) to (B, L)."""
        self.check_length('flatten', indices)
        return indices.reshape(-1, self.length)

    def check_length(self, method: str, indices: Tensor) -> None:
        """Raise if these are not the codes of whole images."""
        shape = tuple(indices.shape)
        if math.prod(shape) % self.length:
            raise UserError(
                f'{type(self.positions).__name__}.{method}: expected {self.length} codes an image, got codes of shape {shape}.'
            )

    def check_shape(self, indices_BL: Tensor) -> None:
        """Raise if codes are not (B, L); does not read their values."""
        if indices_BL.dim() != 2 or indices_BL.shape[1] != self.length:
            name, shape = type(self.positions).__name__, tuple(indices_BL.shape)
            raise UserError(f'{name}: expected codes of shape (B, {self.length}), got {shape}.')

    def check(self, indices_BL: Tensor) -> None:
        """Raise if codes are not integers (B, L), or one lies outside its slot's vocabulary."""
        name = type(self.positions).__name__
        check_integers(name, indices_BL)
        self.check_shape(indices_BL)
        indices_BL = indices_BL.to(torch.int64)  # sizes may lie beyond a narrow type, and uint16 has no maximum
        for slot, size in enumerate(self.vocabularies):
            codes = indices_BL[:, slot :: self.slots]
            if codes.numel() and (codes.min() < 0 or codes.max() >= size):
                raise UserError(
                    f'{name}: codes must lie in [0, {size}), got [{codes.min().item()}, {codes.max().item()}]; '
                    'were they made by another tokenizer?'
                )

    def to_dict(self) -> dict[str, Any]:
        """The JSON-ready description that `layout_from_dict` reads; `codebook_size` is a list if there are several slots."""
        sizes = list(self.vocabularies)
        return {**self.positions.to_dict(), 'codebook_size': sizes if len(sizes) > 1 else sizes[0]}


def check_integers(owner: str, indices: Any) -> None:
    """Raise if these are not a tensor of integers; `owner` begins the message."""
    if not isinstance(indices, Tensor):
        given = type(indices).__name__
        raise UserError(f'{owner}: codes are an integer tensor (B, L), got {given}; use torch.as_tensor.')
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise UserError(f'{owner}: codes are integers, got {indices.dtype}; if they are whole numbers, use .long().')


def check_is_codes(owner: str, codes: Any) -> None:
    """Raise if something else is given where codes are expected, such as their indices; `owner` begins the message."""
    if not isinstance(codes, Codes):
        given = f'a tensor {tuple(codes.shape)}' if isinstance(codes, Tensor) else type(codes).__name__
        raise UserError(
            f'{owner}: expected Codes, got {given}; indices become codes with their layout, '
            'Codes(indices, tokenizer.layout(height, width)).'
        )


def layout_from_dict(description: Any) -> CodeLayout:
    """The layout of a description such as `dict(type='Grid', height=16, width=16, codebook_size=16384)`."""
    arguments = dict(description) if isinstance(description, Mapping) else {}
    sizes = arguments.pop('codebook_size', None)
    positions = positions_from_dict(arguments if isinstance(description, Mapping) else description)
    return CodeLayout(positions, cast(Any, sizes))


@dataclass(frozen=True, eq=False)
class Codes:
    """The codes of a batch of images.

    Args:
        indices_BL: (B, L), of any integer dtype, in the layout's reading order.
        layout: How the L codes are arranged on an image.

    Attributes:
        indices_BL: int64. Length and range are checked by `layout.check`, which whoever embeds codes calls.
    """

    indices_BL: Tensor
    layout: CodeLayout

    def __post_init__(self) -> None:
        if not isinstance(self.layout, CodeLayout):
            given = type(self.layout).__name__
            raise UserError(f'Codes: expected a CodeLayout such as CodeLayout(Grid(16, 16), 1024), got {given}.')
        check_integers('Codes', self.indices_BL)
        if self.indices_BL.dim() != 2:
            shape = tuple(self.indices_BL.shape)
            raise UserError(
                f'Codes: expected codes of shape (B, {self.layout.length}), got {shape}; use layout.flatten.'
            )
        if self.indices_BL.dtype != torch.int64:
            object.__setattr__(self, 'indices_BL', self.indices_BL.to(torch.int64))

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Codes) and self.layout == other.layout
        return same and torch.equal(self.indices_BL, other.indices_BL)

    def __len__(self) -> int:
        return self.indices_BL.shape[0]

    def __getitem__(self, images: slice) -> Codes:
        return Codes(self.indices_BL[images], self.layout)

    def unflatten(self) -> Tensor:
        """The indices in their unflattened shape, (B, *layout.shape), such as (B, height, width)."""
        return self.layout.unflatten(self.indices_BL)


@dataclass(frozen=True)
class Targets:
    """What a generator learns from a batch of images: codes, latents, or both of the same images; raises for neither.

    Args:
        codes: Hard targets, for models of codes.
        soft: Soft targets beside them, (B, L, V) probabilities of each code with V the layout's `vocab_size`
            (RQ-Transformer).
        latents: For models of continuous latents (DiT, MAR).
    """

    codes: Codes | None = None
    soft: Tensor | None = None
    latents: Latents | None = None

    def __post_init__(self) -> None:
        if self.codes is not None:
            check_is_codes('Targets', self.codes)
        if self.latents is not None and not isinstance(self.latents, Latents):
            raise UserError(f'Targets: expected Latents, got {type(self.latents).__name__}.')
        given = self.codes if self.codes is not None else self.latents
        if given is None:
            raise UserError('Targets: expected codes, latents or both, got neither.')
        if self.latents is not None and len(self.latents) != len(given):
            raise UserError(f'Targets: codes of {len(given)} images and latents of {len(self.latents)}; pair them.')
        if self.soft is not None:
            if self.codes is None:
                raise UserError('Targets: soft targets belong to codes, got none; give both.')
            wanted = (len(self.codes), self.codes.layout.length, self.codes.layout.vocab_size)
            if tuple(self.soft.shape) != wanted:
                raise UserError(f'Targets: expected soft targets of shape {wanted}, got {tuple(self.soft.shape)}.')

    def __len__(self) -> int:
        return len(self.codes if self.codes is not None else cast(Latents, self.latents))
