"""The backends of `torch.compile`."""

from __future__ import annotations

import torch

from ..errors import UserError, nearest_hint


def check_backend(owner: str, backend: str) -> None:
    """Raise if there is no backend of this name; `owner` begins the message."""
    if backend not in torch.compiler.list_backends(()):
        hint = nearest_hint(backend, torch.compiler.list_backends())
        raise UserError(f"{owner}: there is no backend '{backend}'; {hint}")
