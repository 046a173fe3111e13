"""KEY=VALUE options: ordinary values as mmengine reads them, and text that stays what it was."""

from __future__ import annotations

import argparse
import math
from typing import Any

import pytest
from mmengine.config import DictAction

from fvq_core.config.key_value import KeyValueAction, parse_value


def parse(action: Any, *arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=action)
    return parser.parse_args(['--cfg-options', *arguments]).cfg_options


@pytest.mark.parametrize(
    'value',
    [
        *(
            '1',
            '-1',
            '007',
            '1e-4',
            '0.5',
            'inf',
            'True',
            'true',
            'FALSE',
            'None',
            'none',
            'text',
            'a.b.c',
            'work_dirs/x=y',
        ),
        *(
            '1,2,3',
            '0.9,0.95',
            '1,',
            '[1,2]',
            '(1,2)',
            '(1,)',
            '(1)',
            '[]',
            '[a,b]',
            '[(1,2),[a,b],c]',
            '[1,(2,3)]',
            '[[1],[2]]',
        ),
    ],
)
def test_ordinary_values_are_read_as_mmengine_reads_them(value: str):
    ours, theirs = parse(KeyValueAction, f'a.b={value}'), parse(DictAction, f'a.b={value}')
    assert ours == theirs
    assert type(ours['a.b']) is type(theirs['a.b'])


@pytest.mark.parametrize(
    'value',
    [
        '/data/my photos',
        '/data/a,b',
        'x=1,y=2',
        'a(1,b',
        'a]b',
        '{000..146}.tar',
        'x{a,b}.tar',
        "it's",
        '[a',
        'a, b ,c',
    ],
)
def test_text_stays_what_it_was(value: str):
    assert parse(KeyValueAction, f'root={value}') == {'root': value}


def test_quotes_make_text_and_options_add_up():
    assert parse(KeyValueAction, 'a="2024"', "b='1,2'", 'c=["1, 2", 3]', 'a=x') == {
        'a': 'x',
        'b': '1,2',
        'c': ['1, 2', 3],
    }
    assert math.isnan(parse_value('nan'))


@pytest.mark.parametrize('argument', ['lr', '=1'])
def test_argument_without_key_or_value_is_one_line(argument: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as raised:
        parse(KeyValueAction, argument)
    assert raised.value.code == 2
    assert f"argument --cfg-options: expected KEY=VALUE, got '{argument}'" in capsys.readouterr().err
