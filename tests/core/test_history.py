"""`history.jsonl` survives crashes and resumes without losing or doubling a row."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fvq_core.errors import UserError
from fvq_core.training.hooks.history import History

ROWS = [{'iter': i, 'loss': i / 7, 'kind': 'train'} for i in range(5)]


@pytest.fixture
def history(tmp_path: Path) -> History:
    history = History(tmp_path / 'history.jsonl')
    for row in ROWS:
        history.append(row)
    return history


def test_rows_come_back_in_order_with_every_digit(history: History):
    assert history.rows() == ROWS


def test_file_is_one_json_object_a_line(history: History):
    assert [json.loads(line) for line in history.path.read_text().splitlines()] == ROWS


def test_no_file_is_no_rows(tmp_path: Path):
    assert History(tmp_path / 'nothing.jsonl').rows() == []


def test_last_line_cut_off_by_a_crash_is_ignored(history: History):
    with open(history.path, 'a') as file:
        file.write('{"iter": 5, "lo')
    assert history.rows() == ROWS


@pytest.mark.parametrize(
    'tail',
    [
        b'\0' * 512,
        b'{"iter": 5, "loss": 0.1' + b'\0' * 100,
        b'{"iter": 5, "lo\xff\xfe"}\n',
        b'[1, 2]\n{"loss": 3}\n{"iter": "x"}\n\n',
        b'[' * 100_000 + b'\n',
    ],
)
def test_what_a_power_cut_leaves_is_left_out_and_the_rows_after_it_count(history: History, tail: bytes):
    with open(history.path, 'ab') as file:
        file.write(tail)
    assert history.rows() == ROWS
    with open(history.path, 'ab') as file:
        file.write(b'\0\n')
    later = {'iter': 9, 'kind': 'val'}
    history.append(later)
    assert history.rows() == [*ROWS, later]
    assert history.truncate(4) >= 1
    assert history.truncate(4) == 0
    assert history.rows() == ROWS


def test_truncating_keeps_the_rows_up_to_and_with_the_iteration(history: History):
    history.truncate(2)
    assert history.rows() == ROWS[:3]


def test_run_resumed_after_a_cut_off_line_goes_on_cleanly(history: History):
    with open(history.path, 'a') as file:
        file.write('{"iter": 5, "lo')
    history.truncate(3)
    history.append(ROWS[4])
    assert history.rows() == ROWS
    assert [path.name for path in history.path.parent.iterdir()] == ['history.jsonl']


def test_crash_while_truncating_leaves_every_row(history: History, monkeypatch: pytest.MonkeyPatch):
    def fail(*paths: object) -> None:
        raise OSError('killed')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(UserError, match='killed'):
        history.truncate(1)
    assert history.rows() == ROWS


def test_several_rows_of_one_iteration_are_kept_together(history: History):
    history.append({'iter': 4, 'kind': 'val', 'psnr': 20.0})
    history.truncate(4)
    assert [row['kind'] for row in history.rows()[-2:]] == ['train', 'val']
    history.truncate(3)
    assert history.rows() == ROWS[:4]
