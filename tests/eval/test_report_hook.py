"""`metrics.json` is JSON that any program reads, and whole or not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fvq_core.errors import UserError
from fvq_core.files.json import write_json


def refuse(name: str) -> Any:
    raise AssertionError(f'{name} is no JSON')


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    nan, infinity = float('nan'), float('inf')
    write_json(tmp_path / 'metrics.json', {'metrics': {'a': {'value': nan}}, 'b': [1.5, -infinity, (infinity, 'nan')]})
    document = json.loads((tmp_path / 'metrics.json').read_text(), parse_constant=refuse)
    assert document == {'metrics': {'a': {'value': None}}, 'b': [1.5, None, [None, 'nan']]}


def test_a_file_that_cannot_be_written_is_one_line_and_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / 'metrics.json').mkdir()
    with pytest.raises(UserError, match=r'metrics\.json could not be written'):
        write_json(tmp_path / 'metrics.json', {})
    assert [path.name for path in tmp_path.iterdir()] == ['metrics.json']
