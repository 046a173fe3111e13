"""A report as Markdown; its pictures stay files beside it."""

from __future__ import annotations

from collections.abc import Sequence

from fvq_core.files.markdown import markdown_table

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
            return markdown_table(head, rows, numbers=not text)
        case Picture(path, caption):
            return f'![{caption}]({path.name})\n\n*{caption}*'
