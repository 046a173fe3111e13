"""Smoke-test many configs in parallel (tools/train.py CONFIG --smoke) and print a table of what works."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fvq_core.commands.command import command, make_parser
from fvq_core.commands.train import read_config, train_parser

EXAMPLE = """\
  tools/smoke.py                                  # every config under configs/
  tools/smoke.py fvq/ baselines/ibq               # configs whose path below configs/ starts with these
  tools/smoke.py --jobs 8"""
STEPS = ('trains', 'saves', 'tests', 'resumes', 'exports')


@command
def main(argv: Sequence[str] | None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    if any(argument.startswith(('--s', '--rehearse')) for argument in argv):  # `tools/train.py CONFIG --smoke`
        prove(argv)
        return
    parser = make_parser('smoke.py', __doc__ or '', EXAMPLE)
    parser.add_argument('only', nargs='*', help='path prefixes below configs/; default all')
    parser.add_argument(
        '--jobs',
        type=int,
        default=os.cpu_count() or 1,
        help='configs to run at a time, one thread each; default: one per core',
    )
    args = parser.parse_args(argv)

    from tqdm import tqdm

    from fvq_core.config.find import config_names
    from fvq_core.errors import UserError

    if args.jobs < 1:
        raise UserError(f'smoke: --jobs must be 1 or more, got {args.jobs}.')
    starts = tuple(one.removeprefix('configs/') for one in args.only)
    names = [name for name in config_names() if not starts or name.removeprefix('configs/').startswith(starts)]
    if not names:
        raise UserError(f'no config below configs/ starts with {" or ".join(starts)}; tools/zoo.py shows them.')
    width = max(map(len, names))
    print(f'{"config".ljust(width)}  {"  ".join(STEPS)}  seconds')
    failed = []
    with ThreadPoolExecutor(args.jobs) as pool, tqdm(total=len(names), unit='config', disable=None) as bar:
        for name, (proven, seconds, reason) in zip(names, pool.map(smoke, names), strict=True):
            marks = [('ok' if step in proven else '-').ljust(len(step)) for step in STEPS]
            bar.write(f'{name.ljust(width)}  {"  ".join(marks)}  {seconds:7.0f}', file=sys.stdout)
            bar.update()
            if reason:
                failed.append(name)
                bar.write(f'    {reason}', file=sys.stdout)
    print(f'{len(names) - len(failed)} of {len(names)} configs work')
    if failed:
        raise UserError(f'failed: {", ".join(failed)}')


def prove(argv: Sequence[str]) -> None:
    """`tools/train.py CONFIG --smoke` or `--rehearse N`."""
    from ..rehearsal.ranks import rehearse_in_table
    from ..rehearsal.shrink_config import shrink_config
    from ..rehearsal.smoke import run_smoke

    args = train_parser().parse_args(argv)
    cfg = read_config(args)
    if cfg.get('load_from'):
        print(f'using small random weights instead of those of {cfg.load_from}, which have the full size')
    if args.work_dir is None:
        cfg.work_dir += '_smoke' if args.smoke else '_rehearsal'
    if args.smoke:
        run_smoke(shrink_config(cfg), lambda line: print(f'smoke: {line}'))
    else:
        rehearse_in_table(cfg, args.rehearse)


def smoke(name: str) -> tuple[set[str], float, str]:
    """What the smoke run of a config proved, its seconds, and the last line of its errors if it failed."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        program = 'import sys; from fvq_core.commands.train import main; sys.exit(main(sys.argv[1:]))'
        done = subprocess.run(
            [sys.executable, '-c', program, name, '--smoke', '--work-dir', folder],
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
            capture_output=True,
            text=True,
            check=False,
        )
    proven = {line.split(': ')[1] for line in done.stdout.splitlines() if line.startswith('smoke: ')}
    errors = [line for line in done.stderr.splitlines() if line.strip()]
    reason = (errors[-1] if errors else f'exit code {done.returncode}') if done.returncode else ''
    return proven, time.monotonic() - started, reason
