"""The card, the versions and the commit that a result is of."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CARD = """
import json, torch
found = torch.cuda.is_available()
one = torch.cuda.get_device_properties(0) if found else None
print(json.dumps(one and dict(card=one.name, capability=f'{one.major}.{one.minor}', gib=round(one.total_memory / 2**30, 1))))
"""


def output_of(command: list[str]) -> str | None:
    """What a command prints; None if there is no such command, or if it fails."""
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return None


def find_card() -> dict[str, object] | None:
    """Name, compute capability and memory of the first GPU; None without one.

    A process of its own asks, so that the one that starts the sections takes no memory on the card.
    """
    printed = output_of([sys.executable, '-c', CARD])
    return json.loads(printed.splitlines()[-1]) if printed else None


def versions() -> dict[str, object]:
    """Versions of what kernels are compiled by, and the number of cores."""
    found: dict[str, object] = {'cores': len(os.sched_getaffinity(0))}
    for name in ('torch', 'triton'):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    found['driver'] = output_of(['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader', '--id=0'])
    return found


def commit(repo: Path) -> str | None:
    """The commit, with `+` if files differ from it; None outside a repository."""
    found = output_of(['git', '-C', str(repo), 'rev-parse', 'HEAD'])
    return found and found[:12] + '+' * bool(output_of(['git', '-C', str(repo), 'status', '--porcelain']))


def file_name(card: str) -> str:
    """`NVIDIA H200` -> `nvidia_h200`."""
    return re.sub(r'[^a-z0-9]+', '_', card.lower()).strip('_')
