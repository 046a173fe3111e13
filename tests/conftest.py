"""Options and fixtures of the whole suite."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import settings

from tests.ranks import TwoRanks

# The same examples every time: a failure is then found where it is made, not on a stranger's machine.
settings.register_profile('fvq', derandomize=True, deadline=None)
settings.load_profile('fvq')

# Tests compare bit for bit and with the CPU's numbers, so `device='auto'` is the CPU here, in the processes they start too.
# Those marked `gpu` name their device.
os.environ['FVQ_DEVICE'] = 'cpu'


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--parity-dir', default=None, help="folder of parity cases: what the peers' own code computed")


@contextmanager
def warnings_as_errors(config: pytest.Config) -> Iterator[None]:
    """Inside, `error` stands before the configured warning filters, which all take precedence over it.

    It is not in the configuration itself, because pytest would apply it to the start and the end of a session too. What
    other people's plug-ins warn of there would end it with an internal error.
    """
    filters = config.getini('filterwarnings')
    filters.insert(0, 'error')
    try:
        yield
    finally:
        filters.remove('error')


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    with warnings_as_errors(session.config):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with warnings_as_errors(item.config):
        return (yield)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what needs other processes because of a fixture, and `fast` what needs neither those nor a GPU."""
    if 'two_ranks' in getattr(item, 'fixturenames', ()):
        item.add_marker('processes')
    if not any(item.get_closest_marker(name) for name in ('processes', 'gpu')):
        item.add_marker('fast')


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker('gpu') and not torch.cuda.is_available():
        pytest.skip('needs a CUDA GPU')


@pytest.fixture(autouse=True)
def same_seed_for_every_test() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def two_ranks() -> Iterator[TwoRanks]:
    """Two processes for all tests of a session, or of each worker of pytest-xdist."""
    pair = TwoRanks()
    yield pair
    pair.close()


@pytest.fixture(autouse=True, scope='module')
def forget_compiled_code() -> None:
    """Each file starts without what others compiled, which counts for the compiler's limit of recompilations."""
    if 'torch._dynamo' in sys.modules:
        sys.modules['torch._dynamo'].reset()
