"""A report as Markdown; its pictures stay files beside it."""

from __future__ import annotations

from collections.abc import Sequence

from .blocks import Block, Code, Heading, Picture, Table, Text


def to_markdown(blocks: Sequence[Block]) -> str:
    """The whole document."""
    return '\n\n'.join(block_to_markdown(block) for block in blocks) + '\n'


def block_to_markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f'{"#" * level} {text}'
        case Text(text):
            return text
        case Code(text):
            return '\n'.join(f'    {line}' for line in text.splitlines())
        case Table(head, rows, text):
            rule = ['---', *('---' if text else '---:' for _ in head[1:])]
            return '\n'.join(table_line(cells) for cells in (head, rule, *rows))
        case Picture(path, caption):
            return f'![{caption}]({path.name})\n\n*{caption}*'


def table_line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cell.replace("|", "&#124;") for cell in cells)} |'
