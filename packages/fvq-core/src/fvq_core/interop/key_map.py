"""Renaming the keys of a state dict by rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from ..errors import UserError

Rules = Sequence[tuple[str, str]]


class LayoutError(UserError):
    """The state dict of another model than the peer's."""


def rename(state: Mapping[str, Tensor], rules: Rules, source: str, drop: Sequence[str] = ()) -> dict[str, Tensor]:
    """Rename every key by the first rule, a regular expression and its replacement, that matches all of it; raises without one.

    Keys that match one of the regular expressions `drop` are left out.
    """
    renamed = {}
    for key, tensor in state.items():
        if any(re.fullmatch(pattern, key) for pattern in drop):
            continue
        for pattern, replacement in rules:
            if re.fullmatch(pattern, key):
                renamed[re.sub(pattern, replacement, key)] = tensor
                break
        else:
            raise UserError(f'{source}: unknown key {key}; this file has another layout than the released checkpoints.')
    return renamed
