"""Two processes under torchrun: a rank that dies ends the job, and the next start ends like one that never stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..ranks import TwoRanks
from .helpers import NO_REPORT, REPO, tool_on_two_ranks
from .test_exact_resume import assert_same_ending

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != 'linux', reason='finds the ranks in /proc'),
]

# Everything that has a state: discriminator, moving average, micro-batches.
CONFIG = str(REPO / 'configs/fvq/fvq_photos_gan.py')
OPTIONS = [*NO_REPORT, 'model.adversarial.start=2', 'model.adversarial.discriminator.ch=8', 'train_cfg.accumulate=2']
TORCHRUN = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', str(REPO / 'tools/train.py')]


def start(work_dir: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, *TORCHRUN, CONFIG, '--work-dir', str(work_dir), *flags, '--cfg-options', *OPTIONS]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def process_of_rank(launcher: int, rank: int) -> int:
    """The process that torchrun started for a rank."""
    children = Path(f'/proc/{launcher}/task/{launcher}/children').read_text().split()
    (found,) = [child for child in children if f'RANK={rank}' in Path(f'/proc/{child}/environ').read_text().split('\0')]
    return int(found)


def test_a_dead_rank_ends_the_job_and_the_next_start_resumes_exactly(two_ranks: TwoRanks, tmp_path: Path) -> None:
    arguments = [CONFIG, '--work-dir', str(tmp_path / 'straight'), '--cfg-options', *OPTIONS]
    for done in tool_on_two_ranks(two_ranks, 'train', *arguments):
        assert done.returncode == 0, done.stderr

    killed = start(tmp_path / 'killed')
    deadline = time.monotonic() + 200
    while not (tmp_path / 'killed/iter_3.pth').exists():
        assert killed.poll() is None, 'the run ended before it could be killed'
        assert time.monotonic() < deadline
        time.sleep(0.005)
    subprocess.run(['kill', '-KILL', str(process_of_rank(killed.pid, 1))], check=True)
    output, _ = killed.communicate(timeout=60)  # within a minute
    assert killed.returncode != 0
    assert f'Signal {signal.SIGKILL.value} (SIGKILL)' in output
    assert not (tmp_path / 'killed/iter_9.pth').exists()

    resumed = start(tmp_path / 'killed', '--resume')
    output, _ = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, output
    assert 'resumed' in output
    assert_same_ending(tmp_path / 'straight', tmp_path / 'killed')
