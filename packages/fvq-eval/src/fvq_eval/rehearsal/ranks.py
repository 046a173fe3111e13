"""`--rehearse N`: a config on N processes of one machine, killed, stopped and resumed as on a cluster."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config

from fvq_core.config.data import config_text
from fvq_core.data.image_dataset import ImageDataset
from fvq_core.data.loader import build_dataset
from fvq_core.errors import SmokeError, UserError
from fvq_core.ops.identical import identical
from fvq_core.ops.meeting import STOPPED
from fvq_core.registry import DATASETS, find_component
from fvq_core.training.checkpoint import read_checkpoint
from fvq_core.training.hooks.history import HISTORY_NAME, History

from ..reconstruction.evaluate_checkpoint import evaluate_checkpoint
from .shrink_config import BATCH, ITERS, RESUME_AT, logged, shrink_config

LAST = f'iter_{ITERS}.pth'
KILLED_AT = RESUME_AT + 1  # after the first checkpoint, before the last
TRAIN = 'import sys\nfrom fvq_core.commands.train import main\nsys.exit(main(sys.argv[1:]))\n'
TOLERANCE = 1e-4  # relative, of an evaluation's figures: N ranks add up in another order than one
Report = Callable[[str, str], None]


def rehearse(cfg: Config, ranks: int, report: Report) -> None:
    """Train a config in small on `ranks` processes over gloo: as it is, and killed, stopped and resumed.

    Data sets of images that are there are read as they are, with small crops and a worker each; others have the stand-in
    of a smoke run. torchrun starts and restarts the processes.

    Args:
        cfg: Config of full size.
        ranks: Number of processes, 2 or more.
        report: Called with a step and what it proved.

    Raises:
        SmokeError: Something does not work, or two endings differ.
    """
    if ranks < 2:
        raise UserError(f'--rehearse: expected 2 processes or more, got {ranks}; --smoke uses one.')
    root = Path(cfg.work_dir).absolute()  # as the Runner logs it
    small = shrink_config(copy.deepcopy(cfg))
    for name in ('train_dataloader', 'val_dataloader') if small.get('val_cfg') is not None else ('train_dataloader',):
        report('reads', f'{name}: {use_own_data(cfg[name], small[name])}')
    straight, broken = root / 'straight', root / 'broken'
    launch(small, straight, ranks, [])
    rows = [row for row in History(straight / HISTORY_NAME).rows() if row['split'] == 'train']
    losses = f'loss {rows[0]["loss"]:.3f} to {rows[-1]["loss"]:.3f}'
    report('trains', f'{ITERS} iterations of {BATCH} x {ranks} images, {losses}; wrote {LAST}')
    report('evaluates', check_evaluation(small, straight))

    small.default_hooks['signals'] = dict(
        type='SignalOnceHook', after=KILLED_AT, signals=['SIGKILL', 'SIGTERM'], rank=ranks - 1
    )
    output = launch(small, broken, ranks, [], expected=None)
    stopped_at = broken / f'iter_{KILLED_AT}.pth'
    if not (broken / 'sent_SIGTERM').exists() or f'resumed {broken / f"iter_{RESUME_AT}.pth"}' not in output:
        raise SmokeError(
            f'restart: the killed rank was not restarted from iteration {RESUME_AT}; see {broken}/log.txt.'
        )
    report('restarts', f'rank {ranks - 1} killed; torchrun restarted all ranks from iter_{RESUME_AT}.pth')
    codes = re.findall(r'exitcode  : (-?\d+)', output)
    if not stopped_at.exists() or str(STOPPED) not in codes:
        raise SmokeError(
            f'stop: SIGTERM should lead to {stopped_at} and exit code {STOPPED}, but the exit codes are '
            f'{", ".join(codes)} and the checkpoints {sorted(path.name for path in broken.glob("iter_*.pth"))}; '
            f'see {broken}/log.txt.'
        )
    report('stops', f'SIGTERM to rank {ranks - 1}; wrote {stopped_at.name}, exit code {STOPPED}')
    launch(small, broken, ranks, [])
    expected, got = read_checkpoint(straight / LAST), read_checkpoint(broken / LAST)
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        if not identical(expected[part], got[part]):
            raise SmokeError(f'resume: {part} differs from the run that was never stopped.')
    if logged(straight / HISTORY_NAME) != logged(broken / HISTORY_NAME):
        raise SmokeError('resume: the logged history differs from the run that was never stopped.')
    report('resumes', 'weights, optimizer, schedule and history are bit-identical to the run that was never stopped')


def use_own_data(own: Any, small: Any) -> str:
    """Put the config's own data set into a shrunk loader if it is there, and tell which data are read."""
    dataset = copy.deepcopy(own.dataset)
    kind, stand_in = (DATASETS.resolve(each.dataset['type']) for each in (own, small))
    if kind is stand_in:
        return f'{kind.__name__}, small'
    if not (isinstance(kind, type) and issubclass(kind, ImageDataset)):
        return f'{stand_in.__name__} instead of {kind.__name__}'
    for transform in dataset.get('transforms', ()):
        shrink = getattr(find_component(transform['type']), 'smoke', None)
        transform.update({} if shrink is None else shrink(transform))
    try:
        size = len(build_dataset(dict(dataset=dataset, batch_size=1), seed=0))  # pyrefly: ignore[bad-argument-type]
    except (UserError, OSError) as error:
        return f'{stand_in.__name__} as a stand-in: {error}'
    small.dataset, small.num_workers = dataset, min(1, own.get('num_workers', 0))
    return f'the {size} images of the config'


def launch(cfg: Config, work_dir: Path, ranks: int, flags: list[str], expected: int | None = 0) -> str:
    """Train under torchrun, which restarts a failed run once; what all ranks printed."""
    work_dir.mkdir(parents=True, exist_ok=True)
    config, script, log = work_dir / 'rehearsed.py', work_dir / 'train.py', work_dir / 'log.txt'
    config.write_text(config_text(cfg.to_dict()))
    script.write_text(TRAIN)
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', str(ranks), '--max-restarts', '1']
    train = [str(script), str(config), '--work-dir', str(work_dir), '--resume', *flags]
    done = subprocess.run(
        [sys.executable, *torchrun, *train],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'TORCH_DISABLE_SHARE_RDZV_TCP_STORE': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    with open(log, 'a') as file:
        file.write(done.stdout)
    if expected is not None and done.returncode != expected:
        errors = [line for line in done.stdout.splitlines() if line.startswith('error: ')]
        raise SmokeError(f'{errors[0] if errors else f"exit code {done.returncode}"}; see {log}.')
    return done.stdout


def check_evaluation(cfg: Config, work_dir: Path) -> str:
    """Evaluate a checkpoint in this process, and compare with what the ranks logged of it."""
    if cfg.get('val_cfg') is None:
        return 'nothing, the config has no evaluation'
    (row,) = [r for r in History(work_dir / HISTORY_NAME).rows() if (r['split'], r['iter']) == ('eval', ITERS)]
    one, _ = evaluate_checkpoint(cfg, str(work_dir / LAST))
    largest = 0.0
    for name, metric in one.items():
        difference = abs(metric.value - row[name]) / max(abs(metric.value), 1e-12)
        if difference > TOLERANCE:
            raise SmokeError(f'evaluation: {name} is {row[name]} on all ranks together, {metric.value} on one.')
        largest = max(largest, difference)
    return f'{len(one)} metrics equal those of one process within {largest:.0e}'


def rehearse_in_table(cfg: Config, ranks: int) -> None:
    """`rehearse`, with a line on the terminal for each step."""
    print(f'{"step".ljust(9)}  seconds  result')
    began = time.monotonic()

    def report(step: str, proven: str) -> None:
        nonlocal began
        now = time.monotonic()
        print(f'{step.ljust(9)}  {now - began:7.0f}  {proven}', flush=True)
        began = now

    rehearse(cfg, ranks, report)
