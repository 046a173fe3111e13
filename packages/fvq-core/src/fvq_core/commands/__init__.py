"""The commands, `fvq train ...` once installed (package fvq), `tools/train.py ...` in a clone.

A package adds commands by entry points in the group `fvq.commands`: a name and the `main(argv)` that it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

from ..errors import nearest_hint

ENTRY_POINT_GROUP = 'fvq.commands'


def run_command(name: str, argv: Sequence[str] | None) -> int:
    """Run a command of any package; returns its exit code."""
    points = entry_points(group=ENTRY_POINT_GROUP)
    if name not in points.names:
        print(f"error: fvq has no command '{name}'; {nearest_hint(name, points.names)}", file=sys.stderr)
        return 2
    return points[name].load()(argv)
