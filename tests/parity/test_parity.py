"""Ours gives the numbers of the peers' own code, through the importers that `tools/convert.py` uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from .adapters import find_adapter
from .case import load_case


def test_parity(case_path: Path) -> None:
    case = load_case(case_path)
    adapter = find_adapter(case)
    if adapter is None:
        peer = case.description['peer']
        pytest.skip(f'{case.name}: no adapter yet for {peer["object"]} of {peer["repo"]}')
    case.compare(adapter(case))
