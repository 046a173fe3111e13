"""The version of what is written to files, so that one of another version is refused and never misread."""

from __future__ import annotations

from typing import Any

from ..errors import UserError

FORMAT_VERSION = 2  # of saved models and of checkpoints; 1 wrote none


def check_format_version(found: Any, where: Any, remedy: str, version: int = FORMAT_VERSION) -> None:
    """Raise if the file `where` has another version than this FVQ reads, or none; `remedy` makes an older file again."""
    if type(found) is int and found == version:
        return
    if type(found) is int and found > version:
        age, remedy = f'{found} of a newer', 'update FVQ'
    else:
        age = f'{1 if found is None else repr(found)} of an earlier'
    raise UserError(f'{where} has version {age} FVQ, this one reads version {version}; {remedy}.')
