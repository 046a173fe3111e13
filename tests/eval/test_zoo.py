"""What `tools/zoo.py` says of the models beside the paper's numbers, which tests/test_paper_rows.py checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fvq_core.config.read import read_config_file
from fvq_core.registry import IMPORTERS
from fvq_core.zoo import create_model, list_models
from fvq_eval.commands.evaluate import main as evaluate
from fvq_eval.commands.report import main as report
from fvq_eval.commands.zoo import main
from fvq_eval.commands.zoo_entries import model_sizes
from fvq_eval.paper.protocols import protocols
from fvq_eval.paper.releases import releases
from fvq_eval.paper.rows import GENERATION, read_table
from fvq_eval.presets import PRESETS

from .image_sets import random_pixels, save_npz


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main([*arguments, '--json', '--work-dirs', 'none']) == 0
    return json.loads(capsys.readouterr().out)


def test_released_weights_are_of_configs_that_exist_and_of_files_that_convert_reads() -> None:
    found = releases()
    assert found.keys() <= set(list_models())
    assert {release.peer for release in found.values()} <= set(IMPORTERS.names())
    assert str(found['baselines/rqvae_50e']) == 'kakaobrain/rq-vae-transformer, weights CC-BY-NC-SA-4.0'


def test_as_json_and_filtered(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = listed(capsys, 't3.6')
    assert (row['name'], row['kind']) == ('configs/fvq/fvq_16k.py', 'tokenizer')
    assert (row['paper']['rfid_in1k'], row['paper']['usage'], row['runs']) == (1.3, 100, [])
    generators = listed(capsys, 'generation', '--kind', 'generator', '--released')
    assert {'configs/generation/var_d16.py', 'configs/generation/rar_b.py'} <= {each['name'] for each in generators}
    assert all(each['release']['repository'] for each in generators)
    assert listed(capsys, 'generation', '--measured') == []


def test_every_generators_row_has_a_protocol_and_one_command_that_can_be_called(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = read_table(GENERATION)
    assert len(rows) == 32
    assert protocols().keys() == rows.keys()
    assert {protocol.preset for protocol in protocols().values()} <= PRESETS.keys()
    commands: dict[str, list[str]] = {}
    for entry in listed(capsys, 't11'):
        for row in entry['rows']:
            assert entry['paper']['fid'] == float(rows[row]['fid'])
            commands.setdefault(row, []).append(entry['command'])
    assert commands.keys() == rows.keys()
    for row, (command, *others) in commands.items():
        assert not others
        tool, first, *options = command.split()
        if tool == 'tools/train.py':
            assert row in read_config_file(first).paper['rows']
        else:
            assert [tool, first, *options] == ['tools/evaluate.py', 'SAMPLES', '--row', row]
    assert commands['t11.1'] == ['tools/evaluate.py SAMPLES --row t11.1']
    assert commands['t11.8'] == ['tools/train.py configs/generation/dit_xl.py']


def test_a_scored_set_stands_in_the_zoo_and_in_the_report_beside_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_npz(random_pixels(20), tmp_path / 'made.npz')
    for row in ('t11.1', 't11.31'):
        arguments = ['made.npz', '--row', row, '--extractor', 'RandomFeatures', '--no-cache']
        assert evaluate([*arguments, '--out', f'runs/{row}/metrics.json']) == 0
    document = json.loads(Path('runs/t11.1/metrics.json').read_text())
    document['metrics']['fid'] = {**document['metrics']['is_random'], 'value': 6.9512}
    Path('runs/t11.1/metrics.json').write_text(json.dumps(document))
    capsys.readouterr()
    assert main(['t11.1', 't11.31', '--work-dirs', 'runs']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith('t11.31     tools/train.py configs/generation/fvq_l.py')
    assert lines[2].rstrip().endswith('runs/t11.31')
    assert lines[3].startswith('t11.1      tools/evaluate.py SAMPLES --row t11.1')
    assert 'FID 6.951 (20 images of ' in lines[4]
    assert report(['runs', '--rows', 't11', '--out', 'out']) == 0
    table = [line for line in Path('out/report.md').read_text().splitlines() if line.startswith('| t11.')]
    assert len(table) == 32
    assert '| 6.95 | 6.951†‡ |' in table[0]


def test_sizes_are_those_of_the_model_that_is_built() -> None:
    model = create_model('fvq_photos')
    sizes = model_sizes('configs/fvq/fvq_photos.py')
    assert sizes['parameters'] == sum(parameter.numel() for parameter in model.parameters())
    assert sizes['folded_parameters'] == sum(parameter.numel() for parameter in model.eval().fold().parameters())
    assert sizes['folded_parameters'] < sizes['parameters']
    assert '64' in sizes['codes']  # 256 pixels by 4


def test_a_generator_without_its_tokenizer_says_why_its_size_is_not_known() -> None:
    assert "work_dirs/var_4k/tokenizer' is not registered" in model_sizes('configs/generation/var_d16.py')['sizes']
