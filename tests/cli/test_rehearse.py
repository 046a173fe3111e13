"""A rehearsal: torchrun's ranks, killed, restarted, stopped and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fvq_core.registry import HOOKS

from .helpers import PHOTOS, tool

pytestmark = pytest.mark.processes


def test_a_rehearsal_on_two_ranks(tmp_path: Path) -> None:
    done = tool('train', PHOTOS, '--rehearse', '2', '--work-dir', 'work', '--cfg-options', *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    steps = [line.split()[0] for line in done.stdout.splitlines()]
    assert steps == ['step', 'reads', 'reads', 'trains', 'evaluates', 'restarts', 'stops', 'resumes']
    assert 'rank 1 killed; torchrun restarted all ranks from iter_2.pth' in done.stdout
    assert done.stdout.endswith('history are bit-identical to the run that was never stopped\n')


def test_one_process_is_no_rehearsal(tmp_path: Path) -> None:
    done = tool('train', PHOTOS, '--rehearse', '1', cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        'error: --rehearse: expected 2 processes or more, got 1; --smoke uses one.\n',
    )


def test_signals_are_checked() -> None:
    with pytest.raises(ValueError, match='names of signals'):
        HOOKS.build(dict(type='SignalOnceHook', after=1, signals=['SIGNONE']))


QUICK = ['default_hooks.report=None', 'default_hooks.curves=None']
