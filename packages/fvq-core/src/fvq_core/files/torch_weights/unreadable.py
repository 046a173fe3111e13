"""The error of a file whose weights cannot be read, and how it names what is in the file."""

from __future__ import annotations

import re

from ...errors import UserError


class CheckpointError(UserError):
    """A file that is not a usable checkpoint."""


def printable(text: str, length: int = 80) -> str:
    """Words out of a file as they may stand in a terminal and in a model card."""
    return re.sub(r"[^\w.,:;/()' -]", '?', text)[:length]
