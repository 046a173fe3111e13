"""Codes of a large vocabulary as numbers of small ones, and back."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def split_code(indices: Tensor, factors: Sequence[int]) -> tuple[Tensor, ...]:
    """The parts of codes, each of their shape, of vocabularies that multiply to theirs.

    The first part is the least significant: of (F, G) they are i modulo F and i // F. In codes made of signs, where channel 0
    is the lowest bit, the first part is that of the first channels. So it is in Open-MAGVIT2, whose 64 x 4,096 are channels 0
    to 5 and 6 to 17, and in MaskBit's groups of bits.
    """
    parts = []
    for size in factors:
        parts.append(indices % size)
        indices = indices // size
    return tuple(parts)


def join_code(parts: Sequence[Tensor], factors: Sequence[int]) -> Tensor:
    """The codes of parts, as `split_code` orders them."""
    indices = parts[-1]
    for size, part in zip(reversed(factors[:-1]), reversed(parts[:-1]), strict=True):
        indices = indices * size + part
    return indices
