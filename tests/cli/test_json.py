"""`--json`: stdout holds one JSON value, the one that the files hold too; everything else goes to stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.commands.command import Main, add_json, command, give, make_parser
from fvq_core.errors import UserError
from fvq_eval.commands import analyze, benchmark, check_data, evaluate, reconstruct, report
from tests.eval.image_sets import random_pixels, save_npz
from tests.pictures import picture
from tests.tiny import tiny_tokenizer

from .test_help import COMMANDS, options, parser_of


def answer(capsys: pytest.CaptureFixture[str], main: Main, *arguments: object) -> Any:
    """What a command with `--json` prints."""
    capsys.readouterr()
    code = main([*map(str, arguments), '--json'])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert printed.err, 'what is for people'
    return json.loads(printed.out)


def test_a_result_is_alone_on_stdout_and_the_next_command_prints_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    @command
    def main(argv: Sequence[str] | None) -> None:
        parser = make_parser('one.py', '', '')
        parser.add_argument('--fails', action='store_true')
        add_json(parser, 'numbers')
        args = parser.parse_args(argv)
        print('for people')
        if args.fails:
            raise UserError('expected a folder')
        give({'psnr': float('inf'), 'rows': [1.5, float('nan')]})

    out = sys.stdout
    assert answer(capsys, main) == {'psnr': None, 'rows': [1.5, None]}
    assert sys.stdout is out
    assert main([]) == 0
    assert tuple(capsys.readouterr()) == ('for people\n', '')
    assert main(['--json', '--fails']) == 2
    assert tuple(capsys.readouterr()) == ('', 'for people\nerror: expected a folder\n')
    assert sys.stdout is out


def test_scores_and_reports_are_those_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_npz(random_pixels(150, seed=1), Path('made.npz'))
    call = ('made.npz', '--extractor', 'RandomFeatures', '--no-cache', '--out', 'run/metrics.json')
    scored = answer(capsys, evaluate.main, *call)
    assert scored == json.loads(Path('run/metrics.json').read_text())
    found = answer(capsys, report.main, 'run', '--out', 'report')
    (one,) = found['measured']
    metric = scored['metrics']['is_random']
    assert one['numbers']['is_random'] == [metric['value'], metric['samples']]
    assert all(Path(path).is_file() for path in found['report'].values())


def test_pictures_codes_and_the_toy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    tiny_tokenizer().save_pretrained('tokenizer')
    picture(40, 32).save('a.png')
    scores = answer(capsys, reconstruct.main, 'tokenizer', 'a.png', '--out', 'out')
    assert scores == json.loads(Path('out/scores.json').read_text())
    toy = answer(capsys, analyze.main, 'toy', '--methods', 'vq', '--steps', 2, '--out', 'toy')
    assert toy == json.loads(Path('toy/toy.json').read_text())


def test_the_config_of_a_checked_folder_and_the_rows_of_a_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        picture(20, 30, number).save(tmp_path / f'{number}.png')
    (found,) = answer(capsys, check_data.main, 'folder', tmp_path, '--decode', 2)
    assert found['dataset'] == {'type': 'ImageFolder', 'root': str(tmp_path)}
    assert (found['train'], found['loader'].partition(' ')[0]) == (True, 'train_dataloader')
    assert f'{tmp_path}: 3 images' in found['found']
    monkeypatch.chdir(Path(__file__).parents[2])
    call = ('configs/mini/vq.py', 'configs/mini/fvq.py', '--report-only', '--work-dir', tmp_path / 'runs')
    rows = answer(capsys, benchmark.main, *call)['rows']
    assert [row['row'] for row in rows] == ['vq', 'fvq']
    assert all(row['psnr_mean'] is None and row['failure'] for row in rows), 'nothing is trained yet'


def test_the_page_lists_the_commands_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / 'docs/command_line.md').read_text()
    listed = re.findall(r'^\| `(\w+)` \| .* \|$', page.partition('## For scripts')[2].partition('## ')[0], re.MULTILINE)
    have = [
        name
        for name in COMMANDS
        if any('--json' in action.option_strings for action in options(parser_of(name, monkeypatch)))
    ]
    assert sorted(listed) == have
