"""Options and fixtures of the whole suite."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

# The same examples every time: a failure is then found where it is made, not on a stranger's machine.
settings.register_profile('fvq', derandomize=True, deadline=None)
settings.load_profile('fvq')


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--parity-dir', default=None, help="folder of parity cases: what the peers' own code computed")


@pytest.fixture(autouse=True)
def same_seed_for_every_test() -> None:
    torch.manual_seed(0)
