"""How latents and codes are arranged: on a grid of the image, in a sequence, or on the scales of a pyramid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import torch

from .errors import UserError

_KINDS: dict[str, type[Positions]] = {}


class Positions:
    """The positions of one image, in reading order; `Grid`, `Sequence` or `Pyramid`, frozen dataclasses. Encoders choose them.

    Attributes:
        length: The number of positions; it and all sizes are whole numbers from 1 on.
    """

    length: int

    def __init_subclass__(cls) -> None:
        _KINDS[cls.__name__] = cls

    def __post_init__(self) -> None:
        for field in fields(cast(Any, self)):
            check_size(type(self).__name__, getattr(self, field.name))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that a person expects."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description; `positions_from_dict` reads it."""
        return {'type': type(self).__name__, **asdict(cast(Any, self))}


@dataclass(frozen=True)
class Grid(Positions):
    """The positions of a latent (B, D, height, width), row by row."""

    height: int
    width: int

    @property
    def length(self) -> int:  # pyrefly: ignore[bad-override]
        return self.height * self.width

    @property
    def shape(self) -> tuple[int, int]:
        return (self.height, self.width)


@dataclass(frozen=True)
class Sequence(Positions):
    """The positions of a latent (B, D, length), which have no place on the image (TiTok)."""

    length: int  # pyrefly: ignore[bad-override]

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)


@dataclass(frozen=True)
class Pyramid(Positions):
    """Grids of growing size, coarse to fine (VAR): `scales` holds (height, width) of each."""

    scales: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        pairs = self.scales if isinstance(self.scales, list | tuple) else ()
        if not pairs or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            raise UserError(f'Pyramid: scales are pairs (height, width), one or more, got {self.scales!r}.')
        scales = tuple((check_size('Pyramid', height), check_size('Pyramid', width)) for height, width in pairs)
        object.__setattr__(self, 'scales', scales)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The number of positions of each scale."""
        return tuple(height * width for height, width in self.scales)

    @property
    def length(self) -> int:  # pyrefly: ignore[bad-override]
        return sum(self.lengths)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)


def check_size(owner: str, value: Any) -> int:
    """The value itself; raises if it is not a whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int | torch.SymInt) or value < 1:
        raise UserError(f'{owner}: sizes are whole numbers from 1 on, got {value!r}.')
    return cast(int, value)  # symbolic in a graph that is traced for any size


def positions_from_dict(description: Any) -> Positions:
    """The positions that `Positions.to_dict` described; raises if the type, a field or a size is wrong."""
    arguments = dict(description) if isinstance(description, Mapping) else {}
    cls = _KINDS.get(str(arguments.pop('type', '')))
    if cls is None:
        raise UserError(f'unknown code layout {description!r}; known: {", ".join(_KINDS)}.')
    known = {field.name for field in fields(cast(Any, cls))}
    if arguments.keys() != known:
        unknown, missing = sorted(arguments.keys() - known), sorted(known - arguments.keys())
        raise UserError(f'{cls.__name__}: unknown field(s) {unknown}, missing {missing}.')
    return cls(**arguments)
