"""The report: the paper's cells are the tables', the measured ones the files'; protocols are never mixed."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fvq_core.config.data import config_data
from fvq_core.config.read import load_config, read_config_file
from fvq_core.errors import UserError
from fvq_core.metric import MetricValue
from fvq_eval.commands.report import main
from fvq_eval.commands.zoo import main as list_rows
from fvq_eval.paper.rows import GENERATION, RECONSTRUCTION, read_table
from fvq_eval.paper.tables import TABLE_2, find_row, paper_table_rows
from fvq_eval.reports.columns import Column
from fvq_eval.runs.measurements import find_measurements

CONFIG = 'configs/fvq/fvq_16k.py'
ROWS = set(read_config_file(CONFIG).paper['rows'])
RECONSTRUCTION, GENERATED = read_table(RECONSTRUCTION), read_table(GENERATION)
VIRTUAL = 'references/VIRTUAL_imagenet256_labeled.npz'
STRICT = 'strict: rounded; against the originals'


def stamp(value: float, stamped: str = STRICT, samples: int = 50_000, **more: Any) -> dict[str, Any]:
    """A number as a file has it, of `preset: protocol`."""
    preset, _, protocol = stamped.rpartition(': ')
    fields = {'value': value, 'unit': '', 'protocol': protocol, 'samples': samples, 'preset': preset}
    return {**fields, 'weights': 'iter_9.pth', **more}


@cache
def resolved(options: str) -> dict[str, Any]:
    """The config as a run keeps it."""
    return config_data(load_config(CONFIG, json.loads(options)).to_dict())


def save_run(
    folder: Path, metrics: dict[str, Any], options: dict[str, Any] | None = None, name: str = 'metrics'
) -> Path:
    """What training or `tools/test.py --out` leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = resolved(json.dumps(options or {}))
    document = {'metrics': metrics, 'config': CONFIG, 'resolved_config': kept, 'seed': 0, 'versions': {}}
    (folder / f'{name}.json').write_text(json.dumps(document))
    return folder


def save_image_set(path: Path, row: str, metrics: dict[str, Any], reference: str | None = VIRTUAL) -> Path:
    """What `tools/evaluate.py --out` leaves."""
    preset = {'name': 'adm', 'codec': None, 'reference': reference}
    document = {'metrics': metrics, 'samples': 'gan.npz', 'row': row, 'reference': reference, 'preset': preset}
    path.write_text(json.dumps(document))
    return path


def report(tmp_path: Path, *paths: Path, rows: Sequence[str] = ()) -> tuple[str, list[dict[str, str]]]:
    """Markdown and lines of the CSV."""
    more = ['--rows', *rows] if rows else []
    assert main([*map(str, paths), '--out', str(tmp_path / 'out'), *more]) == 0
    with open(tmp_path / 'out/report.csv', newline='') as file:
        return (tmp_path / 'out/report.md').read_text(), list(csv.DictReader(file))


def tables(markdown: str) -> dict[str, list[dict[str, str]]]:
    """The tables by heading, each a list of lines by head."""
    found = {}
    for section in re.split(r'^## ', markdown, flags=re.MULTILINE)[1:]:
        lines = [line.strip('| ').split(' | ') for line in section.splitlines() if line.startswith('|')]
        if lines:
            found[section.splitlines()[0]] = [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]
    return found


def test_every_row_of_both_tables_is_shown_with_the_papers_numbers_as_printed(tmp_path: Path) -> None:
    save_run(tmp_path / 'run', {'rfid': stamp(1.34)})
    markdown, _ = report(tmp_path, tmp_path / 'run')
    shown = {line['row']: line for lines in tables(markdown).values() for line in lines if 'row' in line}
    assert list(shown) == [*RECONSTRUCTION, *GENERATED]
    assert shown['t3.8']['rFID, paper'] == RECONSTRUCTION['t3.8']['rfid_in1k']
    assert shown['t3.8']['rFID COCO, paper'] == RECONSTRUCTION['t3.8']['rfid_coco']
    assert shown['t11.31']['FID, paper'] == GENERATED['t11.31']['fid']
    assert shown['t11.31']['IS, paper'] == GENERATED['t11.31']['is']
    assert shown['t11.5']['precision, paper'] == '-'


def test_measured_cells_are_the_files_values(tmp_path: Path) -> None:
    save_run(tmp_path / 'run', {'rfid': stamp(1.23456), 'usage': stamp(99.87, 'strict: every code', 50_000)})
    save_image_set(tmp_path / 'metrics_gan.json', 't11.1', {'fid': stamp(6.9512, 'adm: against VIRTUAL')})
    markdown, lines = report(tmp_path, tmp_path)
    found = tables(markdown)
    cells = [line for name in found for line in found[name] if line.get('row') in ROWS]
    assert {line['run'] for line in cells} == {str(tmp_path / 'run')}
    assert {line['images'] for line in cells} == {'50,000'}
    assert {line['rFID [strict, ImageNet]'] for line in cells if 'rFID [strict, ImageNet]' in line} == {'1.235'}
    (gan,) = [line for line in found['Tables 2 and 11'] if line['row'] == 't11.1']
    assert (gan['FID, paper'], gan['FID [adm, ImageNet]']) == ('6.95', '6.951')
    measured = {(line['row'], line['metric']): line['measured'] for line in lines if line['measured']}
    assert measured == {(row, 'rfid'): '1.23456' for row in ROWS} | {(row, 'usage'): '99.87' for row in ROWS} | {
        ('t11.1', 'fid'): '6.9512'
    }


def test_two_presets_stand_in_two_columns(tmp_path: Path) -> None:
    metrics = {'rfid': stamp(1.3), 'llamagen/rfid': stamp(2.1, 'llamagen: cut off'), 'psnr': stamp(20.5)}
    save_run(tmp_path / 'run', metrics)
    (line, *_) = tables(report(tmp_path, tmp_path / 'run', rows=['t3.6'])[0])['Table 3']
    assert line['rFID [llamagen, ImageNet]'] == '2.1'
    assert line['rFID [strict, ImageNet]'] == '1.3'


def test_one_preset_taken_in_two_ways_stands_in_two_columns(tmp_path: Path) -> None:
    save_run(tmp_path / 'one', {'rfid': stamp(1.3)})
    save_run(tmp_path / 'two', {'rfid': stamp(1.4, 'strict: rounded; random features')})
    lines = tables(report(tmp_path, tmp_path / 'one', tmp_path / 'two', rows=['t3.6'])[0])['Table 3']
    cells = [[line[f'rFID [strict, ImageNet] ({number})'] for number in (1, 2)] for line in lines]
    assert cells == [['1.3', '-'], ['-', '1.4']]


def test_a_column_refuses_a_number_of_another_preset() -> None:
    strict, other = (MetricValue(1.0, '', 'x', 9, preset=name) for name in ('strict', 'ibq'))
    column = Column.of('rfid', strict, 'ImageNet')
    assert column.cell('rfid', strict, 'ImageNet') == '1'
    with pytest.raises(UserError, match='numbers of two protocols are not compared'):
        column.cell('rfid', other, 'ImageNet')
    with pytest.raises(UserError, match='on COCO'):
        column.cell('rfid', strict, 'COCO')


def test_another_evaluation_set_is_never_beside_imagenets_numbers(tmp_path: Path) -> None:
    data = {'val_dataloader.dataset.root': 'data/coco/val2017'}
    save_run(tmp_path / 'run', {'rfid': stamp(1.3)})
    save_run(tmp_path / 'run', {'rfid': stamp(6.9, samples=5000)}, data, 'metrics_coco')
    lines = [line for line in tables(report(tmp_path, tmp_path)[0])['Table 3'] if line['row'] in ROWS]
    assert [(line['rFID [strict, ImageNet]'], line['rFID [strict, COCO]']) for line in lines] == [
        ('1.3', '-'),
        ('-', '6.9'),
    ]
    heads = list(lines[0])
    assert heads.index('rFID, paper') + 1 == heads.index('rFID [strict, ImageNet]')
    assert heads.index('rFID COCO, paper') + 1 == heads.index('rFID [strict, COCO]')


def test_partial_numbers_are_marked_and_share_the_column_of_whole_ones(tmp_path: Path) -> None:
    save_run(tmp_path / 'whole', {'rfid': stamp(1.3, 'strict: rounded')})
    save_run(tmp_path / 'part', {'rfid': stamp(9.3, 'strict: rounded', 500, required=50_000)})
    lines = tables(report(tmp_path, tmp_path, rows=['t3.6'])[0])['Table 3']
    cells = {Path(line['run']).name: (line['rFID [strict, ImageNet]'], line['images']) for line in lines}
    assert cells == {'whole': ('1.3', '50,000'), 'part': ('9.3†', '500 of 50,000')}


def test_too_few_images_are_marked_and_stand_in_the_column_of_the_others(tmp_path: Path) -> None:
    few = 'sample images: a covariance of 64 dimensions from 20 images has rank 19 at most'
    save_run(tmp_path / 'few', {'rfid': stamp(9.3, too_few=few)})
    save_run(tmp_path / 'many', {'rfid': stamp(1.3)})
    lines = tables(report(tmp_path, tmp_path, rows=['t3.6'])[0])['Table 3']
    assert [line['rFID [strict, ImageNet]'] for line in lines] == ['9.3‡', '1.3']


def test_runs_with_overrides_are_marked_and_say_which(tmp_path: Path) -> None:
    save_run(tmp_path / 'run', {'rfid': stamp(1.3)}, {'train_dataloader.batch_size': 3})
    markdown, lines = report(tmp_path, tmp_path / 'run', rows=['t3.6'])
    assert tables(markdown)['Table 3'][0]['rFID [strict, ImageNet]'] == '1.3*'
    (line,) = tables(markdown)['Runs with overrides']
    assert line['settings that differ: not the run that the config describes'] == 'train_dataloader.batch_size'
    assert lines[0]['overrides'] == 'train_dataloader.batch_size'


@pytest.mark.parametrize(
    ('size', 'differs'),
    [
        ('k4096', ()),
        ('k1024', ('model.tokenizer.quantizer.codebook_size', 'size')),
        (['k4096'], ('the config file is gone',)),
    ],
)
def test_a_run_is_compared_with_its_config_at_the_same_size(
    tmp_path: Path, size: Any, differs: tuple[str, ...]
) -> None:
    row = 'configs/mini/fvq.py'
    kept = config_data(load_config(row, size='k4096').to_dict()) | {'size': size}
    document = {'metrics': {'psnr': stamp(20.0)}, 'config': row, 'resolved_config': kept, 'seed': 0, 'versions': {}}
    (tmp_path / 'metrics.json').write_text(json.dumps(document))
    (found,) = find_measurements([str(tmp_path)]).measured
    assert found.overrides == differs


def test_the_list_shows_runs_of_a_config_and_counts_those_with_overrides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_run(tmp_path / 'run', {'rfid': stamp(1.3), 'usage': stamp(99.87)})
    save_run(tmp_path / 'other', {'rfid': stamp(2.0)}, {'train_dataloader.batch_size': 3})
    assert list_rows(['t3.6', '--work-dirs', str(tmp_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ['rFID', '1.3,', 'usage', '99.87', '(50000', 'images', 'of', 'ImageNet)', str(tmp_path / 'run')] in lines
    assert ['1', 'other', 'run', 'with', 'overrides:', 'not', 'comparable', '(train_dataloader.batch_size)'] in lines
    assert list_rows(['t3.6', '--json', '--work-dirs', str(tmp_path)]) == 0
    runs = {Path(run['work_dir']).name: run for run in json.loads(capsys.readouterr().out)[0]['runs']}
    assert runs['run']['numbers'] == {'rfid': [1.3, 50000], 'usage': [99.87, 50000]}
    assert runs['other']['overrides'] == ['train_dataloader.batch_size']


def test_smoke_runs_and_training_windows_are_no_measurements(tmp_path: Path) -> None:
    window = {'usage_window': stamp(9, 'codes since the log before', samples=None)}  # type: ignore[arg-type]
    folder = save_run(tmp_path / 'run', {'rfid': stamp(1.3), **window})
    save_run(folder / 'previous_1', {'rfid': stamp(7.7)})
    smoke = save_run(tmp_path / 'smoke', {'rfid': stamp(8.8)})
    document = json.loads((smoke / 'metrics.json').read_text())
    document['resolved_config']['smoke'] = True
    (smoke / 'metrics.json').write_text(json.dumps(document))
    found = find_measurements([str(tmp_path)])
    assert [[number.value for _, number in one.numbers] for one in found.measured] == [[1.3]]


def test_variants_of_a_metric_stand_beside_the_papers_column_under_their_own_names(tmp_path: Path) -> None:
    metrics = {'strict/psnr': stamp(20.5), 'fvq-release/psnr_y': stamp(22.1, 'fvq-release: luma')}
    save_run(tmp_path / 'run', metrics | {'strict/ms_ssim': stamp(0.9)})
    (line,) = [line for line in tables(report(tmp_path, tmp_path, rows=['t7'])[0])['Table 7'] if line['run'] != '-']
    assert line['PSNR dB [strict, ImageNet]'] == '20.5'
    assert line['psnr_y [fvq-release, ImageNet]'] == '22.1'
    assert not any('ms_ssim' in head for head in line)


def test_what_a_preset_evaluates_is_not_an_override_of_the_run(tmp_path: Path) -> None:
    folder = save_run(tmp_path / 'run', {'strict/rfid': stamp(1.3)}, {'val_dataloader.dataset.transforms': []})
    assert find_measurements([str(folder)]).measured[0].overrides
    document = json.loads((folder / 'metrics.json').read_text())
    (folder / 'metrics.json').write_text(json.dumps({**document, 'presets': {'strict': {}}}))
    assert not find_measurements([str(folder)]).measured[0].overrides


def test_numbers_without_a_stamp_are_left_out_by_name(tmp_path: Path) -> None:
    save_run(tmp_path / 'run', {'rfid': stamp(1.3)})
    bare = {'rfid': {'value': 1.0, 'samples': 3}, 'projector_macs': stamp(9, 'as in table 10', 0)}
    save_run(tmp_path / 'bare', {'psnr': stamp(20.0), **bare})
    (tmp_path / 'metrics_cut.json').write_text('{"metrics": ')
    save_image_set(tmp_path / 'metrics_row.json', 't11.99', {'fid': stamp(1.0)})
    found = find_measurements([str(tmp_path)])
    assert [[metric for metric, _ in one.numbers] for one in found.measured] == [['psnr'], ['rfid']]
    why = dict(found.left_out)
    assert "'rfid' lacks its value, preset, protocol or images" in why[str(tmp_path / 'bare/metrics.json')]
    assert 'not what tools/train.py' in why[str(tmp_path / 'metrics_cut.json')]
    assert "no row 't11.99'" in why[str(tmp_path / 'metrics_row.json')]
    left_out = tables(report(tmp_path, tmp_path)[0])['Files left out']
    assert {line['file'] for line in left_out} == set(why)


def test_stamps_give_every_number_its_protocol_count_and_weights(tmp_path: Path) -> None:
    save_run(tmp_path / 'run', {'rfid': stamp(1.23456)})
    (line,) = tables(report(tmp_path, tmp_path / 'run')[0])['What each number is']
    assert (line['value'], line['images'], line['weights']) == ('1.23456', '50,000', 'iter_9.pth')
    assert line['protocol'] == STRICT


def test_the_number_of_a_column_is_beside_its_stamps_in_every_table(tmp_path: Path) -> None:
    save_run(tmp_path / 'one', {'rfid': stamp(1.3)})
    save_run(tmp_path / 'two', {'rfid': stamp(1.4, 'strict: rounded; random features'), 'psnr': stamp(20.0)})
    found = tables(report(tmp_path, tmp_path / 'one', tmp_path / 'two')[0])
    columns = {(line['number'], line['value']): line['column'] for line in found['What each number is']}
    assert columns == {('rfid', '1.3'): '(1)', ('rfid', '1.4'): '(2)', ('psnr', '20.0'): '-'}
    for name in ('Table 3', 'Table 5'):
        for line in (line for line in found[name] if line['run'] != '-'):
            shown = {head for head, cell in line.items() if 'rFID [' in head and cell != '-'}
            assert shown == {f'rFID [strict, ImageNet] {"(1)" if "one" in line["run"] else "(2)"}'}


def test_every_preset_is_written_in_full_once(tmp_path: Path) -> None:
    strict = {'name': 'strict', 'crop': 'a crop of its own', 'ms_ssim': True, 'psnr': ['RGB', 'Y'], 'codec': None}
    for name in ('one', 'two'):
        folder = save_run(tmp_path / name, {'strict/rfid': stamp(1.3)})
        document = json.loads((folder / 'metrics.json').read_text())
        (folder / 'metrics.json').write_text(json.dumps({**document, 'presets': {'strict': strict}}))
    save_image_set(tmp_path / 'metrics_gan.json', 't11.1', {'fid': stamp(6.9, 'adm: against VIRTUAL')})
    markdown, _ = report(tmp_path, tmp_path)
    assert markdown.count('    preset strict\n') == 1
    assert markdown.count('    preset adm\n') == 1
    for line in ('crop: a crop of its own', 'psnr: RGB; Y', 'codec: none', f'reference: {VIRTUAL}'):
        assert f'      {line}\n' in markdown
    assert f'{tmp_path / "one"}, {tmp_path / "two"}:' in markdown
    assert markdown.index('## What each preset is') < markdown.index('preset adm') < markdown.index('preset strict')


@pytest.mark.parametrize(
    ('reference', 'data'),
    [
        (VIRTUAL, 'ImageNet'),
        ('data/coco/val2017', 'COCO'),
        ('celeba/celeba_hq.npz', 'celeba_hq.npz'),
        ('celeba/', 'celeba'),
        (None, ''),
    ],
)
def test_an_image_set_is_of_its_reference_and_not_of_imagenet_for_claiming_a_row(
    reference: str | None, data: str, tmp_path: Path
) -> None:
    save_image_set(tmp_path / 'metrics.json', 't11.1', {'fid': stamp(6.9512, 'adm: x')}, reference)
    markdown, lines = report(tmp_path, tmp_path, rows=['t11.1'])
    (line,) = tables(markdown)['Tables 2 and 11']
    assert line[f'FID [adm{", " if data else ""}{data}]'] == '6.951'
    (measured,) = [each for each in lines if each['measured']]
    assert (measured['evaluation_set'], measured['paper']) == (data, '6.95' if data == 'ImageNet' else '')


def test_what_stands_before_a_slash_is_stripped_only_where_it_is_the_numbers_preset(tmp_path: Path) -> None:
    metrics = {'adm/fid': stamp(3.0, 'adm: x'), 'fd_a/fid': stamp(4.0, 'adm: x'), 'strict/fid': stamp(5.0, 'adm: x')}
    save_image_set(tmp_path / 'metrics.json', 't11.1', metrics)
    (one,) = find_measurements([str(tmp_path)]).measured
    assert [metric for metric, _ in one.numbers] == ['fid', 'fd_a/fid', 'strict/fid']
    (line,) = tables(report(tmp_path, tmp_path, rows=['t11.1'])[0])['Tables 2 and 11']
    assert [cell for head, cell in line.items() if head.startswith('FID [')] == ['3']


@pytest.mark.parametrize(
    'number',
    [
        3,
        None,
        [],
        'x',
        stamp('1.3'),
        stamp(None),
        stamp(True),
        stamp(1.3, samples='9'),
        stamp(1.3, too_few=3),
        {'value': 1},
    ],  # type: ignore[arg-type]
)
def test_a_number_of_another_form_is_left_out_by_name(number: Any, tmp_path: Path) -> None:
    save_run(tmp_path / 'run', {'psnr': stamp(20.0), 'a': number})
    found = find_measurements([str(tmp_path)])
    assert [[metric for metric, _ in one.numbers] for one in found.measured] == [['psnr']]
    assert found.left_out == [
        (str(tmp_path / 'run/metrics.json'), "'a' lacks its value, preset, protocol or images: not compared")
    ]


@pytest.mark.parametrize(
    'document', [{'metrics': {}, 'row': 3}, {'metrics': {}, 'resolved_config': ['x']}, {'metrics': []}, [], 3]
)
def test_a_file_of_another_form_is_left_out(document: Any, tmp_path: Path) -> None:
    (tmp_path / 'metrics.json').write_text(json.dumps(document))
    found = find_measurements([str(tmp_path)])
    assert not found.measured
    assert 'it is not what tools/train.py' in found.left_out[0][1]


@pytest.mark.parametrize('loader', [[1], 'x', {'dataset': [1]}, {'dataset': 'x'}])
def test_a_config_without_a_description_of_its_data_leaves_its_file_out(loader: Any, tmp_path: Path) -> None:
    document = {'metrics': {}, 'resolved_config': {'val_dataloader': loader}}
    (tmp_path / 'metrics.json').write_text(json.dumps(document))
    found = find_measurements([str(tmp_path)])
    assert not found.measured
    assert "'val_dataloader' of its config is" in found.left_out[0][1]


def test_a_config_that_is_a_program_is_not_run_and_leaves_its_file_out(tmp_path: Path) -> None:
    text = f'open({str(tmp_path / "pwned")!r}, "w")'
    (tmp_path / 'metrics.json').write_text(json.dumps({'metrics': {}, 'resolved_config': text}))
    found = find_measurements([str(tmp_path)])
    assert not found.measured
    assert 'was written by FVQ 0.1, whose files hold their config as a program' in found.left_out[0][1]
    assert not (tmp_path / 'pwned').exists()


def test_pictures_are_beside_the_markdown_and_inside_the_html(tmp_path: Path) -> None:
    folder = save_run(tmp_path / 'run', {'rfid': stamp(1.3)})
    for name in ('reconstructions', 'curves'):
        Image.new('RGB', (3, 3)).save(folder / f'{name}.png')
    markdown, _ = report(tmp_path, folder)
    names = re.findall(r'\]\((\S+\.png)\)', markdown)
    assert len(names) == 2
    assert all((tmp_path / 'out' / name).is_file() for name in names)
    html = (tmp_path / 'out/report.html').read_text()
    assert html.count('src="data:image/png;base64,') == 2
    assert '1.3' in html


def test_a_run_of_no_row_is_listed_apart(tmp_path: Path) -> None:
    save_image_set(tmp_path / 'metrics.json', '', {'fid': stamp(3.5, 'adm: x', 100)})
    (line,) = tables(report(tmp_path, tmp_path)[0])['Runs that stand for no row']
    assert line['config or samples'] == 'gan.npz'
    assert line['numbers'] == 'fid [adm] 3.5'


def test_rows_of_table_2_are_those_of_table_11() -> None:
    assert [GENERATED[TABLE_2[f't2.{number}']]['model'] for number in (1, 3, 6, 11)] == [
        'DiT-L/2',
        'MaskGIT',
        'VQGAN',
        'FVQ-L (LlamaGen-L)',
    ]
    assert find_row('t2.12') == 't11.32'
    assert set(TABLE_2.values()) < set(paper_table_rows())


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        ([str(tmp_path / 'nothing')], 'does not exist'),
        ([str(tmp_path)], 'expected metrics*.json of runs, got none'),
    ):
        assert main([*arguments, '--out', str(tmp_path / 'out')]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count('\n') == 1
    save_run(tmp_path / 'run', {'rfid': stamp(1.3)})
    assert main([str(tmp_path), '--out', str(tmp_path / 'out'), '--rows', 't99']) == 2
    assert 'no row or table is called t99' in capsys.readouterr().err
