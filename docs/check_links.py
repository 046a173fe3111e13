#!/usr/bin/env python
"""Every relative link and picture in the Markdown files points at something, and every `path.py` they name exists."""

from __future__ import annotations

import re
import sys
from pathlib import Path

REPO = Path(__file__).parents[1]
LINK = re.compile(r'\]\(([^)#\s]+)[^)]*\)')
NAMED = re.compile(r'(?<![\w/])((?:configs|tools|benchmarks|tests|docs|packages)/[\w/.-]+\.(?:py|md|sh|toml))')


def main() -> int:
    """Print what is broken; 1 if anything is."""
    broken = []
    for page in [*REPO.glob('*.md'), *(REPO / 'docs').rglob('*.md')]:
        text = page.read_text()
        for target in LINK.findall(text):
            if not re.match(r'[a-z]+:', target) and not (page.parent / target).exists():
                broken.append(f'{page.relative_to(REPO)}: link to {target}')
        broken += [
            f'{page.relative_to(REPO)}: names {name}'
            for name in NAMED.findall(text)
            if 'NAME' not in name and not (REPO / name).exists()
        ]
    print('\n'.join(broken) if broken else 'links: all good')
    return bool(broken)


if __name__ == '__main__':
    sys.exit(main())
