#!/usr/bin/env python
"""Kill a run with SIGKILL at random moments, resume it, and compare its end with a run that never stopped, bit by bit.

    python benchmarks/kill_resume.py --kills 20

The run trains a small tokenizer on the bundled photos with everything that has a state: discriminator, moving average,
two micro-batches an iteration, a checkpoint after every iteration. A moment may fall into start-up, a step, an
evaluation, or the writing of a checkpoint.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

from fvq_core.commands import train
from fvq_core.ops.identical import identical
from fvq_core.registry import load_plugins
from fvq_eval.rehearsal.shrink_config import logged

CONFIG = 'configs/fvq/fvq_photos_gan.py'
OPTIONS = [
    'model.tokenizer.quantizer.codebook_size=64',
    'model.adversarial.start=3',
    'model.adversarial.lecam=0.05',
    'model.adversarial.discriminator.ch=8',
    'train_dataloader.batch_size=2',
    'train_dataloader.dataset.crops=31',
    'val_dataloader.dataset.crops=8',
    'train_cfg.max_iters=12',
    'train_cfg.val_interval=5',
    'train_cfg.accumulate=2',
    'default_hooks.checkpoint.interval=1',
    'default_hooks.training_log.interval=4',
]
LAST = 'iter_12.pth'
STATES = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')


def run(work_dir: Path) -> list[str]:
    """Arguments of `train`."""
    return [CONFIG, '--work-dir', str(work_dir), '--cfg-options', *OPTIONS]


def start(arguments: list[str], log: Path) -> int:
    """The run in a process of its own, forked so that it need not import anything again; its id."""
    process = os.fork()
    if process:
        return process
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os._exit(train.main(arguments))


def finish(arguments: list[str], log: Path) -> None:
    """Run to the end."""
    _, status = os.waitpid(start(arguments, log), 0)
    if status:
        sys.exit(f'a run that nobody killed failed:\n{log.read_text()}')


def killed_after(seconds: float, arguments: list[str], log: Path) -> bool:
    """Whether the kill came before the run's own end."""
    process = start(arguments, log)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return os.WIFSIGNALED(status)


def difference(one: Path, other: Path) -> str | None:
    """The first state in which two finished runs differ."""
    expected, got = (torch.load(folder / LAST, weights_only=True) for folder in (one, other))
    for name in STATES:
        if not identical(expected[name], got[name]):
            return name
    same = logged(one / 'history.jsonl') == logged(other / 'history.jsonl')
    return None if same else 'history'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    args = parser.parse_args()
    load_plugins()  # here, once, not in each forked run
    rng = random.Random(args.seed)
    trials = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        log = root / 'log.txt'
        began = time.perf_counter()
        finish(run(root / 'straight'), log)
        length = time.perf_counter() - began
        while len(trials) < args.kills:
            work_dir = root / f'killed_{len(trials)}'
            moment = rng.uniform(0.0, length)
            if not killed_after(moment, run(work_dir), log):
                continue  # the run was over by then
            newest = max((int(p.stem[5:]) for p in work_dir.glob('iter_*.pth')), default=0)
            half_written = any(work_dir.glob('.iter_*.partial'))
            finish([*run(work_dir), '--resume'], log)
            found = difference(root / 'straight', work_dir)
            trials.append(dict(seconds=round(moment, 2), newest_checkpoint=newest, difference=found))
            if not args.json:
                where = f'checkpoint {newest}' + (', one half written' if half_written else '')
                print(f'killed after {moment:5.2f} s ({where}): {found or "bit-exact"}', flush=True)
    exact = sum(trial['difference'] is None for trial in trials)
    facts = dict(bit_exact=exact, kills=len(trials), run_seconds=round(length, 1), trials=trials)
    print(json.dumps(facts) if args.json else f'{exact} of {len(trials)} endings bit-exact')
    sys.exit(exact != len(trials))


if __name__ == '__main__':
    main()
