"""One line of `fvq doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        group: Heading that it stands under.
        name: What was looked at.
        value: What is there, in words with units.
        status: `ok`; `note` for what is missing or small, and stops only those who need it; `stop` for what prevents training.
        remedy: What to do about it; '' if nothing.
    """

    group: str
    name: str
    value: str
    status: Literal['ok', 'note', 'stop'] = 'ok'
    remedy: str = ''


def gib(size: float) -> str:
    """Bytes in words: `11.5 GiB`."""
    return f'{size / GIB:.1f} GiB'
