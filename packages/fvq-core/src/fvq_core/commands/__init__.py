"""The command line: `fvq train ...`, `fvq test ...`; `tools/*.py` are the same commands from a clone."""

from __future__ import annotations

import sys
from importlib import import_module

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
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print(f'usage: fvq {{{",".join(COMMANDS)}}} ...   (fvq COMMAND --help teaches each)')
        return 0 if sys.argv[1:2] in (['-h'], ['--help']) else 2
    return import_module(f'{__name__}.{sys.argv[1]}').main(sys.argv[2:])
