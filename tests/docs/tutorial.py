"""A page of the docs as a program: its blocks, in order, as one bash script."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / 'docs'
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
REHEARSAL = re.compile(r'as a rehearsal with `([^`]+)`')
SHOWN = ('console', 'text')  # not run: what is typed before the page begins, and output
END = 'END_OF_BLOCK'


@dataclass(frozen=True)
class Block:
    """A fenced block; one with a title is a file of that name."""

    language: str
    title: str
    text: str

    def as_bash(self) -> str:
        if self.language == 'bash':
            return self.text
        target = f'cat > {shlex.quote(self.title)}' if self.title else 'python -'
        return f"{target} <<'{END}'\n{self.text}{END}\n"


def blocks(page: Path) -> list[Block]:
    """What a page runs, in order."""
    return [Block(*found) for found in BLOCK.findall(page.read_text()) if found[0] not in SHOWN]


def script(page: Path) -> str:
    """The whole page; the first command that fails ends it."""
    return '\n'.join(['set -euo pipefail', *(block.as_bash() for block in blocks(page))])


def rehearsal_settings(page: Path) -> dict[str, str]:
    """The variables with which the page says that it is rehearsed, such as `STEPS=20`; a value may have spaces if quoted."""
    stated = REHEARSAL.search(page.read_text())
    assert stated, f'{page}: it must say "{REHEARSAL.pattern}"'
    return dict(word.split('=', 1) for word in shlex.split(stated[1]))


def commands(page: Path) -> list[list[str]]:
    """Every `tools/NAME.py ...` of the bash blocks as words, with the variables' own defaults put in."""
    text = '\n'.join(block.text for block in blocks(page) if block.language == 'bash').replace('\\\n', ' ')
    defaults = dict(re.findall(r'(\w+)=\$\{\1:-([^}]*)\}', text))
    for name, value in defaults.items():
        text = text.replace(f'${name}', value)
    return [shlex.split(line) for line in text.splitlines() if line.startswith('tools/')]
