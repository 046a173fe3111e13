#!/usr/bin/env python
"""Kill a run with SIGKILL at random times, resume it, and compare its result bit for bit with an uninterrupted run.

    python benchmarks/kill_resume.py --kills 20
    python benchmarks/kill_resume.py --agents --kills 8     # two agents of torchrun, as on two machines
    python benchmarks/kill_resume.py --config configs/generation/var_d16.py           # any config, at the size of --smoke
    python benchmarks/kill_resume.py --sample work_dirs/var_photos/generator work_dirs/var_codes_photos/tokenizer

The run trains a small tokenizer on the bundled photos with everything that has a state: discriminator, moving average,
two micro-batches an iteration, a checkpoint after every iteration. The moments are spread over the run: start-up, each
iteration with its evaluation and the writing of its checkpoint, and what comes after the last one.

With `--sample` it is `tools/sample.py` that is killed, while it loads, draws or writes, and called again; its `samples.npz`
is compared.

With `--agents` two agents of torchrun on loopback stand for two machines. Killed are in turn a rank, which torchrun restarts; a
machine (agent and rank); an agent, not its rank; and the machine that keeps the rendezvous, without which the other's agent
ends. Agents that are gone are started again. At last the second machine stays away: one process goes on, elastically.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.forked_runs import finish, killed_at, start, watch
from benchmarks.kill_moments import Moment, draw_moment, step_seconds
from benchmarks.torchrun_agents import Agents, wait_until
from fvq_core.config.data import config_text
from fvq_core.config.read import load_config
from fvq_core.ops.identical import identical
from fvq_core.registry import load_plugins
from fvq_eval.rehearsal.shrink_config import logged, shrink_config

REPO = Path(__file__).parents[1]
CONFIG = str(REPO / 'configs/fvq/fvq_photos_gan.py')
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
COMMAND = [CONFIG, '--cfg-options', *OPTIONS]  # of `train`, but for its work dir
SAMPLES = ['--num', '40', '--npz', '--batch-size', '8', '--device', 'cpu']
LAST = 'iter_12.pth'
STATES = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
AGENT_KILLS = ('rank', 'machine', 'agent', 'first machine')
WAIT_S = 4.0  # in which a run without its second machine must not go on


def run(work_dir: Path) -> list[str]:
    """Arguments of `train`."""
    return [COMMAND[0], '--work-dir', str(work_dir), *COMMAND[1:]]


def small_config(config: str, folder: Path) -> str:
    """A config as small as `--smoke` makes it, for 12 iterations with a checkpoint after each."""
    small = shrink_config(load_config(config))
    small.train_cfg.update(max_iters=12, val_interval=5 if small.get('val_cfg') is not None else 0)
    small.default_hooks.checkpoint.update(interval=1)
    small.default_hooks.training_log.update(interval=4)
    path = folder / 'small.py'
    path.write_text(config_text(small.to_dict()))
    return str(path)


def difference(one: Path, other: Path) -> str | None:
    """The first state in which two finished runs differ."""
    expected, got = (torch.load(folder / LAST, weights_only=True) for folder in (one, other))
    for name in STATES:
        if not identical(expected.get(name), got.get(name)):
            return name
    same = logged(one / 'history.jsonl') == logged(other / 'history.jsonl')
    return None if same else 'history'


def sampling_trials(models: list[str], kills: int, rng: random.Random) -> list[dict[str, Any]]:
    """Kills of `tools/sample.py`, and whether what the same command then wrote is what it writes undisturbed."""
    from fvq_generators.commands import sample

    trials: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        log, straight = root / 'log', root / 'straight'
        seconds = watch([*models, '--out', str(straight), *SAMPLES], log, lambda: shards(straight), sample.main)
        attempt = 0
        while len(trials) < kills:
            out, moment = root / f'killed_{attempt}', draw_moment(len(trials), kills, seconds, rng)
            attempt += 1
            call = [*models, '--out', str(out), *SAMPLES]
            if not killed_at(moment, call, log, partial(shards, out), sample.main):
                seconds[moment.step] /= 2  # the machine is faster by now
                continue
            drawn = shards(out)
            finish(call, log, sample.main)
            equal = all(
                (out / name).read_bytes() == (straight / name).read_bytes() for name in ('samples.npz', 'grid.png')
            )
            trials.append(dict(**asdict(moment), shards=drawn, difference=None if equal else 'samples'))
            print(
                f'killed {moment.seconds:.1f} s after {moment.step} of {len(seconds) - 1} shards: '
                f'{"bit-exact" if equal else "other samples"}',
                flush=True,
            )
    return trials


def shards(out: Path) -> int:
    """How many files of samples a folder has."""
    return len(list((out / 'shards').glob('*.npy')))


def newest(work_dir: Path) -> int:
    """The iteration of the newest checkpoint, 0 if there is none."""
    return max((int(path.stem[5:]) for path in work_dir.glob('iter_*.pth')), default=0)


def kill_process(work_dir: Path, number: int, moment: Moment) -> dict[str, Any] | None:
    """Kill a run in one process and finish it; None if it was over by then."""
    log = work_dir.with_suffix('.log')
    if not killed_at(moment, run(work_dir), log, partial(newest, work_dir)):
        return None
    half_written = any(work_dir.glob('.iter_*.partial'))
    facts = dict(killed='process', newest_checkpoint=newest(work_dir), half_written=half_written)
    finish([*run(work_dir), '--resume'], log)
    return facts


def start_agents(work_dir: Path) -> Agents:
    """Two agents, once both have started their ranks."""
    logs = work_dir.with_suffix('.logs')
    logs.mkdir()
    agents = Agents([str(REPO / 'tools/train.py'), *run(work_dir), '--resume'], logs)
    agents.start(0, 1)
    wait_until(lambda: agents.rank(0) and agents.rank(1), 'both ranks')
    return agents


def finish_agents(agents: Agents) -> None:
    if not agents.finish():
        sys.exit('\n'.join(['torchrun failed:', *(agents.log_file(number).read_text() for number in agents.processes)]))


def kill_under_agents(work_dir: Path, number: int, moment: Moment) -> dict[str, Any] | None:
    """The same of a run under two agents, with the next of `AGENT_KILLS`."""
    what = AGENT_KILLS[number % len(AGENT_KILLS)]
    victim = 0 if what == 'first machine' else 1
    agents = start_agents(work_dir)
    try:
        if what == 'agent':  # a rank hears of it from when it has read its config
            wait_until(lambda: newest(work_dir), 'a checkpoint')
        moment.wait(partial(newest, work_dir), agents.any_ended)
        if not agents.kill(victim, agent=what != 'rank', rank=what != 'agent') or (work_dir / LAST).exists():
            return None  # the run was over by then
        facts = dict(killed=what, newest_checkpoint=newest(work_dir))
        if what == 'first machine':
            wait_until(lambda: not agents.running(1), 'the end of the agent that has lost its rendezvous')
        if what != 'rank':
            check_waiting(agents, work_dir)
            agents.start(*(each for each in (0, 1) if not agents.running(each)))
        finish_agents(agents)
    finally:
        agents.close()
    return facts


def check_waiting(agents: Agents, work_dir: Path) -> None:
    """Raise if the run goes on without the agent that was killed."""
    time.sleep(WAIT_S)  # ranks whose agent was killed stop after their iteration, and save it
    before = newest(work_dir)
    time.sleep(WAIT_S)
    if newest(work_dir) != before:
        raise AssertionError(f'iteration {newest(work_dir)} after an agent was killed at {before}; see {agents.logs}')


def continue_alone(work_dir: Path) -> dict[str, Any]:
    """Kill one machine for good: another number of processes is refused, and accepted with `--resume-elastic`."""
    agents, log = start_agents(work_dir), work_dir.with_suffix('.log')
    wait_until(lambda: newest(work_dir) >= 4, 'a checkpoint')
    agents.kill(1)
    check_waiting(agents, work_dir)
    agents.close()
    at = newest(work_dir)
    _, status = os.waitpid(start([*run(work_dir), '--resume'], log), 0)
    refused = os.waitstatus_to_exitcode(status) == 2 and 'was written by 2 processes, this run has 1' in log.read_text()
    finish([*run(work_dir), '--resume-elastic'], log)
    return dict(killed='machine, for good', newest_checkpoint=at, refused=refused, finished=(work_dir / LAST).exists())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=20, help='number of kills; default %(default)s')
    parser.add_argument('--agents', action='store_true', help='run under two torchrun agents, each with one rank')
    parser.add_argument('--seed', type=int, default=0, help='seed of the times of the kills; default %(default)s')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    parser.add_argument('--config', help='train this config at a small size instead of the tokenizer')
    parser.add_argument(
        '--sample',
        nargs='+',
        metavar='FOLDER',
        help='kill tools/sample.py with this generator (and tokenizer) instead of training',
    )
    args = parser.parse_args()
    if args.sample:
        load_plugins()
        trials = sampling_trials(args.sample, args.kills, random.Random(args.seed))
        exact = sum(trial['difference'] is None for trial in trials)
        facts = dict(bit_exact=exact, kills=args.kills, trials=trials)
        print(json.dumps(facts) if args.json else f'{exact} of {args.kills} endings bit-exact')
        sys.exit(exact != args.kills)
    kill: Callable[[Path, int, Moment], dict[str, Any] | None] = kill_under_agents if args.agents else kill_process
    load_plugins()  # here, once, not in each forked run
    rng = random.Random(args.seed)
    trials: list[dict[str, Any]] = []

    def report(trial: dict[str, Any], outcome: str) -> None:
        trials.append(trial)
        if not args.json:
            written = ', one half written' if trial.get('half_written') else ''
            print(f'{trial["killed"]} killed, checkpoint {trial["newest_checkpoint"]}{written}: {outcome}', flush=True)

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        straight = root / 'straight'
        if args.config:
            COMMAND[:] = [small_config(args.config, root)]
        if args.agents:
            agents = start_agents(straight)
            seconds = step_seconds(partial(newest, straight), agents.any_ended)
            finish_agents(agents)
        else:
            seconds = watch(run(straight), root / 'straight.log', partial(newest, straight))
        length, parts = sum(seconds), rng.sample(range(args.kills), args.kills)
        attempt = 0
        while len(trials) < args.kills:
            moment = draw_moment(parts[len(trials)], args.kills, seconds, rng)
            work_dir = root / f'killed_{attempt}'
            attempt += 1
            if facts := kill(work_dir, len(trials), moment):
                found = difference(straight, work_dir)
                report(dict(**facts, **asdict(moment), difference=found), found or 'bit-exact')
            else:
                seconds[moment.step] /= 2  # the machine is faster by now
        exact = sum(trial['difference'] is None for trial in trials)
        failed = exact != len(trials)
        if args.agents:
            last = continue_alone(root / 'alone')
            failed |= not (last['refused'] and last['finished'])
            report(last, 'one process is refused, and finishes with --resume-elastic' if not failed else str(last))
    facts = dict(bit_exact=exact, kills=args.kills, run_seconds=round(length, 1), trials=trials)
    print(json.dumps(facts) if args.json else f'{exact} of {args.kills} endings bit-exact')
    sys.exit(failed)


if __name__ == '__main__':
    main()
