"""What a scheduler asks of a run, and what a run says of a rank that is late."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from mmengine.dist import get_rank
from mmengine.hooks import Hook

from fvq_core.errors import UserError
from fvq_core.ops.meeting import STOPPED, Meeting
from fvq_core.registry import HOOKS

from ..ranks import TwoRanks
from .helpers import NO_REPORT, PHOTOS, Done, checkpoint, free_port, tool, tool_on_rank
from .test_exact_resume import assert_same_ending


@HOOKS.register_module()
class LateHook(Hook):
    """Rank 1 comes to iteration 2 when there is nobody left to meet."""

    def before_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        if runner.iter == 2 and get_rank() == 1:
            wait_for(Path(runner.work_dir) / 'rank_0_has_ended')
            raise KeyboardInterrupt


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 100
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def train(work_dir: Path, *options: str, resume: bool = False) -> list[str]:
    """Arguments of a run. What watches a run may differ when it is resumed."""
    return [PHOTOS, '--work-dir', str(work_dir), *['--resume'] * resume, '--cfg-options', *NO_REPORT, *options]


def stop(name: str, rank: int = 0) -> list[str]:
    hook = 'default_hooks.probe'
    return [f'{hook}.type=SignalOnceHook', f'{hook}.after=5', f"{hook}.signals=['{name}']", f'{hook}.rank={rank}']


def train_on_rank(rank: int, port: int, *arguments: str) -> Done:
    return tool_on_rank(rank, port, 'train', *arguments)


def late_on_rank(rank: int, port: int, work_dir: Path, *arguments: str) -> Done:
    done = tool_on_rank(rank, port, 'train', *arguments)
    if rank == 0:
        (work_dir / 'rank_0_has_ended').touch()
    if dist.is_initialized():
        dist.destroy_process_group()
    return done


@pytest.fixture(scope='module')
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a run that never stopped."""
    folder = tmp_path_factory.mktemp('straight')
    assert tool('train', *train(folder / 'work'), cwd=folder).returncode == 0
    return folder / 'work'


@pytest.fixture(scope='module')
def stopped_pair(two_ranks: TwoRanks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of two processes that stopped because of a signal to one."""
    work_dir = tmp_path_factory.mktemp('stopped') / 'work'
    stopped = two_ranks.run(train_on_rank, free_port(), *train(work_dir, *stop('SIGTERM', rank=1)))
    assert [done.returncode for done in stopped] == [STOPPED, STOPPED]
    assert max(work_dir.glob('iter_*')).name == 'iter_5.pth'
    return work_dir


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGUSR1'])
def test_a_signal_saves_the_iteration_and_the_run_goes_on_exactly(name: str, straight: Path, tmp_path: Path) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGUSR1)]
    # Between two checkpoints and two logs.
    stopped = tool('train', *train(tmp_path / 'stopped', *stop(name)), cwd=tmp_path)
    assert stopped.returncode == STOPPED == 75, stopped.stderr
    assert 'after iteration 5; checkpoint saved' in stopped.stdout + stopped.stderr
    assert [path.name for path in tmp_path.glob('stopped/iter_*')].count('iter_5.pth') == 1
    assert before == [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGUSR1)]
    assert tool('train', *train(tmp_path / 'stopped', resume=True), cwd=tmp_path).returncode == 0
    assert_same_ending(straight, tmp_path / 'stopped')


def test_a_signal_to_one_rank_stops_both_at_the_same_iteration(
    two_ranks: TwoRanks, stopped_pair: Path, tmp_path: Path
) -> None:
    def run(*arguments: str) -> list[int]:
        return [done.returncode for done in two_ranks.run(train_on_rank, free_port(), *arguments)]

    shutil.copytree(stopped_pair, tmp_path / 'stopped')
    assert run(*train(tmp_path / 'straight')) == [0, 0]
    assert run(*train(tmp_path / 'stopped', resume=True)) == [0, 0]
    assert_same_ending(tmp_path / 'straight', tmp_path / 'stopped')


def test_a_checkpoint_of_two_processes_goes_on_in_one_if_it_may_stretch(stopped_pair: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped_pair, tmp_path / 'work')
    refused = tool('train', *train(tmp_path / 'work', resume=True), cwd=tmp_path)
    assert refused.returncode == 2
    assert 'iter_5.pth was written by 2 processes, this run has 1; start 2, or add --resume-elastic' in refused.stderr
    done = tool('train', '--resume-elastic', *train(tmp_path / 'work'), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'processes 1 (was 2), train_cfg.accumulate 2 (was not set)' in done.stdout + done.stderr
    assert 'images an iteration' not in done.stdout + done.stderr
    config = checkpoint(tmp_path / 'work/iter_9.pth')['meta']['config']
    assert (config['train_dataloader']['batch_size'], config['train_cfg']['accumulate']) == (2, 2)


def test_agreement_in_the_store(two_ranks: TwoRanks) -> None:
    assert two_ranks.run(agree_in_store) == [[False, True, False]] * 2


def agree_in_store(rank: int) -> list[bool]:
    """As beside NCCL: no signal, one to rank 1, and again none."""
    meeting, answers = Meeting(), []
    for number in range(3):
        meeting.received = signal.SIGTERM if (rank, number) == (1, 1) else None
        answers.append(meeting._stop_agreed_in_store())
    return answers


def test_a_time_out_names_the_late_rank(two_ranks: TwoRanks, tmp_path: Path) -> None:
    options = ['timeout=6', 'default_hooks.probe.type=LateHook']
    done, _ = two_ranks.run(late_on_rank, free_port(), tmp_path / 'late', *train(tmp_path / 'late', *options))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        'error: rank 1 of 2 did not take part in a collective within 6 s; look at their output and machines'
    )


def test_a_lost_rank_ends_the_others_in_one_line(two_ranks: TwoRanks) -> None:
    (said, _) = two_ranks.run(lose_rank_1)
    assert said.startswith('rank 0 of 2 lost another rank, whose own output says why it ended')


def lose_rank_1(rank: int) -> str:
    said = ''
    meeting = Meeting()
    if rank == 0:
        with pytest.raises(UserError) as caught, meeting.watch():
            dist.all_reduce(torch.zeros(1))
        said = str(caught.value)
    dist.destroy_process_group()
    return said


LEAVES_A_WORKER = """
import torch
from fvq_core.ops.meeting import outlive_first_signal
loader = torch.utils.data.DataLoader(
    range(4), num_workers=1, persistent_workers=True, worker_init_fn=outlive_first_signal, multiprocessing_context='fork'
)
batches = iter(loader)
next(batches)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='forks a worker')
def test_a_process_ends_though_its_workers_outlive_a_signal() -> None:
    done = subprocess.run([sys.executable, '-c', LEAVES_A_WORKER], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, '')
