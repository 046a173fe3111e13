"""The presets of a report, in full."""

from __future__ import annotations

from collections.abc import Sequence

from ..presets.protocol_facts import facts_text
from ..runs.measurements import Measured
from .blocks import Block, Code, Heading, Text


def preset_blocks(measured: Sequence[Measured]) -> list[Block]:
    """Every field of each preset, once; a preset that was applied in two ways is shown twice, with the runs of each."""
    runs: dict[str, list[str]] = {}
    for one in measured:
        for preset in one.presets:
            runs.setdefault(facts_text(preset), []).append(one.name)
    blocks = [block for words in sorted(runs) for block in (Text(f'{", ".join(runs[words])}:'), Code(words))]
    return [Heading('What each preset is'), *blocks] if blocks else []
