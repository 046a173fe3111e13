"""What the presets of a report are, in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..runs.measurements import Measured
from .blocks import Block, Code, Heading, Text


def preset_blocks(measured: Sequence[Measured]) -> list[Block]:
    """All that each preset means, once; one that was applied in two ways stands there twice, with the runs of each."""
    runs: dict[str, list[str]] = {}
    for one in measured:
        for preset in one.presets:
            runs.setdefault(in_words(preset), []).append(one.name)
    blocks = [block for words in sorted(runs) for block in (Text(f'{", ".join(runs[words])}:'), Code(words))]
    return [Heading('What each preset is'), *blocks] if blocks else []


def in_words(preset: Mapping[str, Any]) -> str:
    """A preset as the file has it, a line for each of its parts."""
    lines = [f'  {key}: {value_in_words(value)}' for key, value in preset.items() if key != 'name']
    return '\n'.join([f'preset {preset["name"]}', *lines])


def value_in_words(value: Any) -> str:
    """A part of a preset."""
    if value in (None, False, []):
        return 'none'
    return '; '.join(map(str, value)) if isinstance(value, list) else str(value)
