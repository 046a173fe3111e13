"""The suite itself: warnings of ours fail a test, those of other people's plug-ins end no session, and `auto` is the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from fvq_core.ops.distributed import choose_device

REPO = Path(__file__).parents[1]
NOISY = """
import warnings
import pytest

def pytest_configure(config):
    warnings.warn(pytest.PytestWarning('loud at the start'))

def pytest_collection_modifyitems(items):
    warnings.warn(DeprecationWarning('loud at the collection'))

def pytest_sessionfinish(session):
    warnings.warn(UserWarning('loud at the end'))

def pytest_terminal_summary(terminalreporter):
    warnings.warn(UserWarning('loud in the summary'))
"""


@pytest.mark.parametrize('category', [UserWarning, DeprecationWarning, FutureWarning, RuntimeWarning])
def test_a_warning_is_an_error(category: type[Warning]) -> None:
    with pytest.raises(category, match='of ours'):
        warnings.warn('of ours', category, stacklevel=1)


def test_a_librarys_warning_about_our_call_is_an_error() -> None:
    with pytest.raises(UserWarning, match='requires_grad'):
        torch.tensor(torch.ones(1, requires_grad=True)).item()


@pytest.mark.processes
def test_warnings_of_other_peoples_plug_ins_end_no_session(tmp_path: Path) -> None:
    (tmp_path / 'pytest_noisy.py').write_text(NOISY)
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])}
    command = [
        sys.executable,
        '-m',
        'pytest',
        '-p',
        'pytest_noisy',
        '-p',
        'no:cacheprovider',
        '-k',
        'is_the_cpu',
        __file__,
    ]
    done = subprocess.run(command, cwd=REPO, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for place in ('at the collection', 'at the end', 'in the summary'):
        assert f'loud {place}' in done.stdout


def test_auto_is_the_cpu_here() -> None:
    assert choose_device('auto') == torch.device('cpu')


@pytest.mark.processes
def test_what_is_meant_for_the_cpu_leaves_a_gpu_alone() -> None:
    """Runs, their loaders and resumed checkpoints on a machine that claims two GPUs, where touching one raises."""
    files = ('quantizers/test_fold_hook.py', 'core/test_image_folder.py')
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'tests.pretend_gpu', '-p', 'no:cacheprovider']
    done = subprocess.run(
        [*command, *(f'tests/{file}' for file in files)], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
