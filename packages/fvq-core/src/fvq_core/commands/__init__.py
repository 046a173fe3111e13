"""The command line: `fvq train ...`, `fvq test ...`; `tools/*.py` are the same commands from a clone."""

from __future__ import annotations

import sys
from importlib import import_module

from ..errors import nearest_hint

COMMANDS = (
    'train',
    'test',
    'export',
    'convert',
    'reconstruct',
    'check_data',
    'push',
    'list',
    'smoke',
    'make_codebook',
    'analyze',
    'benchmark',
    'extract_codes',
    'sample',
    'evaluate',
    'report',
)


def main() -> int:
    """Run `fvq COMMAND ARGUMENTS`."""
    name = next(iter(sys.argv[1:]), None)
    if name in (None, '-h', '--help'):
        print(f'usage: fvq {{{",".join(COMMANDS)}}} ...   (fvq COMMAND --help teaches each)')
        return 2 if name is None else 0
    if name not in COMMANDS:
        print(f"error: fvq has no command '{name}'; {nearest_hint(name, COMMANDS)}", file=sys.stderr)
        return 2
    return import_module(f'{__name__}.{name}').main(sys.argv[2:])
