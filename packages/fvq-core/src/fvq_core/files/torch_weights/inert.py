"""Placeholders for objects of a pickle that are neither plain values nor tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SCALARS = (str, bytes, int, float, bool, type(None))


@dataclass(eq=False)
class Inert:
    """A class, a function, or an object of one: its dotted name, and its arguments and state in the pickle."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    values: list[Any] = field(default_factory=list)


def hashable(key: Any) -> Any:
    """The key itself if hashing it is cheap and safe, otherwise a placeholder."""
    if isinstance(key, (*SCALARS, Inert)):
        return key
    if isinstance(key, tuple) and all(isinstance(part, SCALARS) for part in key):
        return key
    return Inert(type(key).__name__)
