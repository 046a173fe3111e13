"""Run a section and judge what it printed: a record of the file of results."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fvq_core.errors import one_line

from .machine import commit
from .process import Ended, run
from .results import FAIL, KILLED, PASS, identity, judged
from .section import Section

FELL_BACK = 'plain torch takes its place'  # from the warning of `Kernel.run`
REHEARSAL_SECONDS = 600  # a slow CPU is no reason to kill a section
SETTINGS = ('FVQ_KERNELS', 'FVQ_DEVICE', 'TRITON_INTERPRET')  # of the user's shell
TAIL = 4000  # characters of output that a failure keeps


def environment(section: Section, rehearse: bool) -> dict[str, str]:
    """Of the process of a section: kernels that it may prove run, and settings of the user's shell change nothing."""
    env = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    env['FVQ_KERNELS'] = 'all' if section.kernels else 'proven'
    if rehearse:
        env |= {'CUDA_VISIBLE_DEVICES': '', 'FVQ_DEVICE': 'cpu'}
    return env | section.env


def measure(section: Section, machine: Mapping[str, Any], repo: Path, rehearse: bool) -> dict[str, Any]:
    """The record of a section."""
    record: dict[str, Any] = {**identity(section, machine, repo, rehearse), **machine, 'commit': commit(repo)}
    command = [sys.executable, *section.call(rehearse)]
    seconds = REHEARSAL_SECONDS if rehearse else section.seconds
    ended = run(command, seconds, environment(section, rehearse), repo)
    record |= {
        'finished': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
        'seconds': round(ended.seconds, 1),
        **judge(section, ended, repo, rehearse),
    }
    if record['verdict'] != PASS:
        record |= {'stdout': ended.stdout[-TAIL:], 'stderr': ended.stderr[-TAIL:]}
    return record


def judge(section: Section, ended: Ended, repo: Path, rehearse: bool) -> dict[str, Any]:
    """Output, checks, kernels and verdict of a command that has ended.

    In a rehearsal the output only has to be one that can be judged: a CPU says nothing of gains.
    """
    found: dict[str, Any] = {'verdict': KILLED if ended.code is None else FAIL}
    if ended.code is None:
        found['error'] = f'killed after {ended.seconds:.0f} s'
    elif ended.code != 0:
        found['error'] = f'exit code {ended.code}: {one_line((ended.stderr.strip().splitlines() or [""])[-1])}'
    try:
        found['output'] = section.parse(ended.stdout)
        checks = section.judge(found['output'])
    except Exception as error:  # a script may have printed anything
        return {'error': one_line(f'{type(error).__name__}: {error}'), **found}
    found |= judged(section, checks, repo)
    fallen = [line for line in ended.stderr.splitlines() if FELL_BACK in line]
    if fallen:
        found.setdefault('error', one_line(fallen[0]))
    if 'error' not in found and (rehearse or all(check.passed for check in checks if check.kind != 'target')):
        found['verdict'] = PASS
    else:  # half a run proves nothing
        found['kernels'] = {name: kernel | {'verdict': FAIL} for name, kernel in found['kernels'].items()}
    return found
