"""The command line: `fvq train ...`, `fvq evaluate ...`; `tools/*.py` are the same commands from a clone.

A package adds commands by entry points in the group `fvq.commands`: a name and the `main(argv)` that it runs.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from ..errors import nearest_hint

ENTRY_POINT_GROUP = 'fvq.commands'


def main() -> int:
    """Run `fvq COMMAND ARGUMENTS`."""
    points = {point.name: point for point in sorted(entry_points(group=ENTRY_POINT_GROUP))}
    name = next(iter(sys.argv[1:]), None)
    if name in (None, '-h', '--help'):
        print(f'usage: fvq {{{",".join(points)}}} ...   (fvq COMMAND --help has examples)')
        return 2 if name is None else 0
    if name not in points:
        print(f"error: fvq has no command '{name}'; {nearest_hint(name, points)}", file=sys.stderr)
        return 2
    return points[name].load()(sys.argv[2:])
