"""By which protocol each row of table 11 was measured, where samples of it are published, and what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fvq_core.metric import MetricValue

from .rows import read_table
from .tables import paper_table_rows

PROTOCOLS = 'configs/paper/protocols.csv'
DEFAULT_PRESET = 'adm'


@dataclass(frozen=True)
class RowProtocol:
    """How a row was measured.

    Attributes:
        id: The row.
        preset: The preset that does the same.
        protocol: In words.
        samples: Published samples; '' if there are none.
        odd: What is known not to fit; '' if nothing is.
    """

    id: str
    preset: str
    protocol: str
    samples: str
    odd: str


def protocols() -> dict[str, RowProtocol]:
    """The protocol of every row of table 11 by id."""
    return {row_id: RowProtocol(**line) for row_id, line in read_table(PROTOCOLS).items()}


def beside_paper(protocol: RowProtocol, preset: str, found: Mapping[str, MetricValue]) -> list[str]:
    """Lines that put a row's printed numbers beside ours, and say where the two may differ.

    Args:
        preset: Name of the preset that was applied.
        found: Our numbers by name. Those of another network have other names, and stand beside nothing.
    """
    row = paper_table_rows()[protocol.id]
    lines = [f'row {row.id}, {row.system} ({row.setting}), measured by: {protocol.protocol}']
    for column, printed in row.printed.items():
        ours = next((found[name] for name in column.metrics if name in found), None)
        marks = '' if ours is None else ', partial' * ours.partial + ', TOO FEW' * bool(ours.too_few)
        lines.append(f'  {column.title:10s} paper {printed:>6s}   ours {"-" if ours is None else f"{ours}{marks}"}')
    notes = [f'published samples: {protocol.samples or "none"}']
    if protocol.odd:
        notes.append(f'known: {protocol.odd}')
    if preset != protocol.preset:
        notes.append(f'measured here under {preset}, not {protocol.preset}, which repeats the protocol of the row')
    return lines + [f'  {note}' for note in notes]
