"""The classes that a caller lists, as whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from fvq_core.errors import UserError


def whole_numbers(classes: Any) -> list[int]:
    """The classes that a caller lists; raises if one is not a whole number, for 1.7 is not taken for 1."""
    if not isinstance(classes, Sequence) or isinstance(classes, str):
        raise UserError(f'sample: classes are a list of whole numbers, got {classes!r}; write classes=[207].')
    numbers = []
    for one in classes:
        try:
            number = None if isinstance(one, bool) else index(one)
        except TypeError:
            number = None
        if number is None or abs(number) >= 2**63:
            raise UserError(f'sample: classes are whole numbers, got {one!r}; captions are a float tensor (B, T, C).')
        numbers.append(number)
    return numbers
