"""The error of a file whose weights cannot be read."""

from __future__ import annotations

from ..errors import UserError


class CheckpointError(UserError):
    """A file that is not a usable checkpoint."""
