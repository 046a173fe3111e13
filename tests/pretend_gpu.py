"""A pytest plug-in (`-p tests.pretend_gpu`): torch says that there is a GPU, and whatever touches it raises.

With it a test fails where one that is meant for the CPU would use a GPU if its machine had one. Torch's own modules hear the
truth: its compiler asks a GPU for properties, streams and random state, whatever it compiles for.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import pytest
import torch


def refuse(*args: object, **kwargs: object) -> NoReturn:
    raise AssertionError('this test touches the GPU, but is not marked `gpu`')


def asked_by_torch() -> bool:
    """Whether the caller of the function that asks this is one of torch's modules."""
    return sys._getframe(2).f_globals.get('__name__', '').startswith('torch.')


def pytest_configure() -> None:
    torch.cuda.is_available = lambda: not asked_by_torch()
    torch.cuda.device_count = lambda: 0 if asked_by_torch() else 2
    torch.cuda.current_device = lambda: 0
    torch.cuda.is_current_stream_capturing = lambda: False  # optimizers ask
    torch.cuda._lazy_init = refuse


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker('gpu'):
            item.add_marker(pytest.mark.skip(reason='needs a GPU that is one'))
