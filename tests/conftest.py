"""Options and fixtures of the whole suite."""

from __future__ import annotations

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--parity-dir', default=None, help="folder of parity cases: what the peers' own code computed")


@pytest.fixture(autouse=True)
def same_seed_for_every_test() -> None:
    torch.manual_seed(0)
