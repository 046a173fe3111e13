"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = False) -> str:
    """A table; `|` within a cell is escaped, and with `numbers` all columns but the first are aligned to the right."""
    rule = ['---', *(['---:' if numbers else '---'] * (len(head) - 1))]
    escaped = ([cell.replace('|', '\\|') for cell in cells] for cells in (head, rule, *rows))
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in escaped)
