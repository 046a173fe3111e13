"""A run killed with SIGKILL and resumed ends bit for bit like one that never stopped."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fvq_core.ops.identical import identical
from fvq_eval.rehearsal.shrink_config import logged

from .helpers import NO_REPORT, PHOTOS, REPO, checkpoint, start_tool, tool

pytestmark = pytest.mark.processes


@pytest.fixture(scope='module')
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a run that never stopped."""
    cwd = tmp_path_factory.mktemp('straight')
    done = tool('train', PHOTOS, '--work-dir', 'work', '--cfg-options', *NO_REPORT, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd / 'work'


@pytest.fixture(scope='module')
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a run that SIGKILL ended in mid-epoch, after iteration 6 of 9."""
    work_dir = tmp_path_factory.mktemp('killed') / 'work'
    arguments = [PHOTOS, '--work-dir', str(work_dir), '--cfg-options', *NO_REPORT]
    command = [sys.executable, str(REPO / 'tools/train.py'), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (work_dir / 'iter_6.pth').exists():
        assert process.poll() is None, 'the run ended before it could be killed'
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return work_dir


def assert_same_ending(one: Path, other: Path) -> None:
    expected, got = checkpoint(one / 'iter_9.pth'), checkpoint(other / 'iter_9.pth')
    assert expected.keys() == got.keys()
    for part in expected.keys() - {'meta'}:
        log = part == 'training_log'
        a, b = ({**c[part], 'last_log': {}} if log else c[part] for c in (expected, got))
        assert identical(a, b), part
    assert logged(one / 'history.jsonl') == logged(other / 'history.jsonl')


def test_killed_in_mid_epoch_and_resumed(straight: Path, killed: Path, tmp_path: Path) -> None:
    work_dir = shutil.copytree(killed, tmp_path / 'work')
    done = start_tool(
        'train', PHOTOS, '--work-dir', str(work_dir), '--resume', '--cfg-options', *NO_REPORT, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert 'resumed' in done.stdout + done.stderr
    assert_same_ending(straight, work_dir)


def test_a_truncated_newest_checkpoint_falls_back_to_the_one_before(
    straight: Path, killed: Path, tmp_path: Path
) -> None:
    work_dir = shutil.copytree(killed, tmp_path / 'work')
    newest = work_dir / 'iter_6.pth'
    newest.write_bytes(newest.read_bytes()[:-5000])
    # workers must not change the data either
    options = [*NO_REPORT, 'train_dataloader.num_workers=2']
    done = start_tool('train', PHOTOS, '--work-dir', str(work_dir), '--resume', '--cfg-options', *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'iter_6.pth is truncated' in done.stdout + done.stderr
    assert_same_ending(straight, work_dir)
