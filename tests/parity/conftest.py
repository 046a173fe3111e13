"""One test a parity case, named like the case."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if 'case_path' not in metafunc.fixturenames:
        return
    folder = metafunc.config.getoption('--parity-dir')
    if folder is None:
        reason = pytest.mark.skip(reason='parity cases are given with --parity-dir')
        metafunc.parametrize('case_path', [pytest.param(None, id='no-cases', marks=reason)])
        return
    cases = sorted(path.with_suffix('') for path in Path(folder).glob('*.json'))
    if not cases:
        raise pytest.UsageError(f'--parity-dir {folder} holds no case (NAME.json beside NAME.safetensors).')
    metafunc.parametrize('case_path', cases, ids=[path.name for path in cases])
