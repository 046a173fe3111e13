"""A report as one HTML page that needs nothing else: pictures are inside, no script, no font, no address."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from .blocks import Block, Code, Heading, Picture, Table, Text

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 1500px; padding: 0 1rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top; white-space: nowrap }
th { background: #f4f5f7; border-bottom: 2px solid #bbb }
th:first-child, td:first-child, .text th, .text td { text-align: left }
.text td { white-space: normal }
td:first-child { position: sticky; left: 0; background: #fff; font-weight: 600 }
tr:hover td { background: #f7f9fc }
pre { background: #f4f5f7; padding: .7rem 1rem; overflow-x: auto }
figure { margin: 1rem 0 } img { max-width: 100%; height: auto } figcaption { color: #555; font-size: 13px }
"""


def to_html(blocks: Sequence[Block]) -> str:
    """The whole page."""
    title = next((block.text for block in blocks if isinstance(block, Heading)), 'report')
    body = '\n'.join(block_to_html(block) for block in blocks)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n'
    )


def block_to_html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f'<h{level}>{escape(text)}</h{level}>'
        case Text(text):
            return f'<p>{escape(text)}</p>'
        case Code(text):
            return f'<pre>{escape(text)}</pre>'
        case Table(head, rows, text):
            lines = [row_to_html(head, 'th'), *(row_to_html(row, 'td') for row in rows)]
            kind = ' class="text"' if text else ''
            return f'<div class="wide"><table{kind}>\n{chr(10).join(lines)}\n</table></div>'
        case Picture(path, caption):
            data = base64.b64encode(path.read_bytes()).decode()
            source = f'data:image/png;base64,{data}'
            return f'<figure><img src="{source}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'


def row_to_html(cells: Sequence[str], tag: str) -> str:
    return f'<tr>{"".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)}</tr>'
