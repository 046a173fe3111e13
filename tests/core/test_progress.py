"""What shows how far a command is: lines without a terminal, a bar on one."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from fvq_core import progress
from fvq_core.progress import Progress


def test_without_a_terminal_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, 'time', SimpleNamespace(perf_counter=lambda: now[0]))
    said: list[str] = []
    with Progress('extracting', 200, 0, 2, said.append, done=100) as shown:
        for _ in range(4):
            now[0] += 20
            shown.advance(10)
    assert said == [
        'extracting, process 1 of 2: 120 of 200 images, 0.5 images/s, time left 2:40',
        'extracting, process 1 of 2: 140 of 200 images, 0.5 images/s, time left 2:00',
    ]


def test_short_work_says_nothing_and_gives_every_item(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(Progress.each('abc', 'spelling', 3, 'letter')) == ['a', 'b', 'c']
    assert capsys.readouterr() == ('', '')


def test_a_terminal_gets_a_bar_with_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
    assert sum(1 for _ in Progress.each(range(5), 'counting', 5, 'number')) == 5
    assert capsys.readouterr().err == '', 'over in a moment'
    monkeypatch.setattr(progress, 'SECONDS_WITHOUT', 0)
    assert sum(1 for _ in Progress.each(range(5), 'counting', 5, 'number')) == 5
    shown = capsys.readouterr().err
    assert 'counting: 100%' in shown
    assert '5/5 [' in shown
    assert 'number/s' in shown
