"""The command line: `fvq train ...`, `fvq evaluate ...`; `tools/*.py` are the same commands from a clone.

A package adds commands by entry points in the group `fvq.commands`: a name and the `main(argv)` that it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

from ..errors import nearest_hint

ENTRY_POINT_GROUP = 'fvq.commands'


def main() -> int:
    """Run `fvq COMMAND ARGUMENTS`."""
    name = next(iter(sys.argv[1:]), None)
    if name in (None, '-h', '--help'):
        names = sorted(entry_points(group=ENTRY_POINT_GROUP).names)
        print(f'usage: fvq {{{",".join(names)}}} ...   (fvq COMMAND --help has examples)')
        return 2 if name is None else 0
    return run_command(name, sys.argv[2:])


def run_command(name: str, argv: Sequence[str] | None) -> int:
    """Run a command of any package; returns its exit code."""
    points = entry_points(group=ENTRY_POINT_GROUP)
    if name not in points.names:
        print(f"error: fvq has no command '{name}'; {nearest_hint(name, points.names)}", file=sys.stderr)
        return 2
    return points[name].load()(argv)
