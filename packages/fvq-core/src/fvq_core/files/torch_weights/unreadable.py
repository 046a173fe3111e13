"""The error for files whose weights cannot be read, and how messages quote such files."""

from __future__ import annotations

import re

from ...errors import UserError


class CheckpointError(UserError):
    """A file that is not a usable checkpoint."""


def sanitized(text: str, length: int = 80) -> str:
    """Text from a file, made safe for a terminal and a model card."""
    return re.sub(r"[^\w.,:;/()' -]", '?', text)[:length]
