"""Two processes under torchrun: after a dead rank, or a dead torchrun, the run ends like one that never stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.torchrun_agents import Agents, wait_until

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


@pytest.fixture(scope='module')
def straight(two_ranks: TwoRanks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of two processes that never stopped."""
    work_dir = tmp_path_factory.mktemp('straight') / 'work'
    for done in tool_on_two_ranks(two_ranks, 'train', CONFIG, '--work-dir', str(work_dir), '--cfg-options', *OPTIONS):
        assert done.returncode == 0, done.stderr
    return work_dir


def test_a_dead_rank_ends_the_job_and_the_next_start_resumes_exactly(straight: Path, tmp_path: Path) -> None:
    killed = start(tmp_path / 'killed')
    wait_until((tmp_path / 'killed/iter_3.pth').exists, 'iteration 3')
    subprocess.run(['kill', '-KILL', str(process_of_rank(killed.pid, 1))], check=True)
    output, _ = killed.communicate(timeout=60)  # within a minute
    assert killed.returncode != 0
    assert f'Signal {signal.SIGKILL.value} (SIGKILL)' in output
    assert not (tmp_path / 'killed/iter_9.pth').exists()

    resumed = start(tmp_path / 'killed', '--resume')
    output, _ = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, output
    assert 'resumed' in output
    assert_same_ending(straight, tmp_path / 'killed')


def test_a_run_waits_for_a_dead_agent_and_goes_on_exactly_when_it_is_back(straight: Path, tmp_path: Path) -> None:
    work_dir = tmp_path / 'work'
    train = [str(REPO / 'tools/train.py'), CONFIG, '--work-dir', str(work_dir), '--resume', '--cfg-options', *OPTIONS]
    agents = Agents(train, tmp_path)
    try:
        agents.start(0, 1)
        wait_until((work_dir / 'iter_3.pth').exists, 'iteration 3')
        left = agents.rank(1)
        assert agents.kill(1, rank=False)
        wait_until(lambda: not Path(f'/proc/{left}').exists(), 'the end of the rank that it left')
        wait_until(lambda: agents.rank(0) is None, 'the end of the other rank')
        assert (
            '; checkpoint saved, continue with --resume'
            in agents.log_file(0).read_text() + agents.log_file(1).read_text()
        )
        assert not (work_dir / 'iter_9.pth').exists()
        assert agents.running(0)
        agents.start(1)
        assert agents.finish(), agents.log_file(0).read_text()
    finally:
        agents.close()
    assert_same_ending(straight, work_dir)
