"""`tools/evaluate.py`: a stamped row from nothing but samples; errors are one line; the report reads what it wrote."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fvq_core.errors import UserError
from fvq_core.files.json import read_json
from fvq_core.registry import FEATURE_EXTRACTORS
from fvq_core.stamp import stamp
from fvq_eval.commands import evaluate, report
from fvq_eval.generation import ImageSetEvaluator
from fvq_eval.statistics.image_set import ImageSetStatistics
from tests.eval.image_sets import random_pixels, save_folder, save_npz

RANDOM = ('--extractor', 'RandomFeatures')


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test runs in a folder of its own, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    save_npz(random_pixels(150, seed=1), Path('made.npz'))
    save_npz(random_pixels(150, seed=2, level=200), Path('real.npz'))
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that the command prints before it exits with 2."""
    code = evaluate.main(arguments)
    error = capsys.readouterr().err
    assert code == 2, error
    assert error.startswith('error: ')
    assert error.count('\n') == 1, error
    return error


def test_numbers_are_printed_with_preset_and_stamp_and_written(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ('made.npz', '--reference', 'real.npz', *RANDOM, '--row', 't2.11', '--out', 'runs/gan/metrics.json')
    assert evaluate.main(arguments) == 0
    out = capsys.readouterr().out
    assert 'preset adm' in out
    assert 'openai/guided-diffusion' in out
    document = json.loads(Path('runs/gan/metrics.json').read_text())
    assert document['row'] == 't11.31'  # the same row of the longer table
    assert document['preset']['name'] == 'adm'
    assert (document['samples'], document['reference']) == ('made.npz', 'real.npz')
    assert {'fd_random', 'sfd_random', 'is_random', 'precision_random', 'recall_random'} <= set(document['metrics'])
    for name, metric in document['metrics'].items():
        line = next(line for line in out.splitlines() if line.startswith(f'{name} '))
        assert metric['protocol'] in line
        assert f'; {metric["preset"]}: ' in line
        assert f'{metric["value"]:.4g}' in line
        assert metric['samples'] == 150
        assert 'weights' not in metric  # there is no model: the images are named once, as `samples`
    assert 'note: partial: 150 images, the preset requires 50,000' in out


def test_the_report_puts_an_evaluated_image_set_beside_the_papers_row() -> None:
    arguments = ('made.npz', '--reference', 'real.npz', *RANDOM, '--row', 't11.4', '--out', 'runs/adm/metrics.json')
    assert evaluate.main(arguments) == 0
    assert report.main(('runs', '--rows', 't11.4', '--out', 'out')) == 0
    document = json.loads(Path('runs/adm/metrics.json').read_text())
    precision = document['metrics'].pop('precision_random')
    marked = f'{precision["value"]:.4g}†'
    assert marked not in cells_of_row()  # another network's
    assert weights_in_report() == {'made.npz'}  # the images stand for weights
    document['metrics']['precision'] = {**precision, 'weights': 'old.npz'}  # as files said it before
    Path('runs/adm/metrics.json').write_text(json.dumps(document))
    assert report.main(('runs', '--rows', 't11.4', '--out', 'out')) == 0
    assert {marked, '150 of 50,000', '0.69'} <= set(cells_of_row())
    assert weights_in_report() == {'made.npz', 'old.npz'}


def weights_in_report() -> set[str]:
    with Path('out/report.csv').open() as file:
        return {line['weights'] for line in csv.DictReader(file) if line['measured']}


def cells_of_row() -> list[str]:
    (line,) = [line for line in Path('out/report.md').read_text().splitlines() if line.startswith('| t11.4 |')]
    return line.strip('| ').split(' | ')


def test_statistics_saved_are_a_reference(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(('real.npz', *RANDOM, '--metrics', 'fid', '--save-stats', 'real_statistics.npz')) == 0
    printed = capsys.readouterr().out
    assert 'no --reference: left out fid' in printed
    assert 'statistics of 150 images are in real_statistics.npz' in printed
    for reference in ('real.npz', 'real_statistics.npz'):
        arguments = ('made.npz', '--reference', reference, *RANDOM, '--metrics', 'fid', '--out', f'{reference}.json')
        assert evaluate.main(arguments) == 0
    both = [json.loads(Path(f'{name}.json').read_text())['metrics'] for name in ('real.npz', 'real_statistics.npz')]
    assert both[0]['fd_random']['value'] == both[1]['fd_random']['value']


def test_each_class_is_printed_and_written(capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (('made', 1), ('real', 2)):
        save_npz(random_pixels(60, seed=seed), Path(f'{name}.npz'), np.arange(60) % 2)
    arguments = ('made.npz', '--reference', 'real.npz', *RANDOM, '--classes', '--out', 'metrics.json')
    assert evaluate.main(arguments) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith('class 1 ')]
    classes = json.loads(Path('metrics.json').read_text())['classes']
    assert set(classes) == {'0', '1'}
    assert line.startswith('class 1     30 images; adm, partial: fd_random ')
    for name, metric in classes['1'].items():
        few = ' (TOO FEW)' if name in ('fd_random', 'sfd_random') else ''
        assert f'{name} {metric["value"]:.4g}{few}' in line
        assert metric['samples'] == 30
        assert stamp(metric).startswith('adm: partial, 30 of 50,000 images; class 1 only; ')
        assert ('too_few' in metric) == bool(few)


def test_a_preset_is_printed_as_it_is_applied(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(('made.npz', '--reference', 'real.npz', *RANDOM, '--preset', 'ibq', '--no-cache')) == 0
    printed = capsys.readouterr().out
    assert 'crop: none, pixels as the files hold them' in printed
    assert 'extractor: random' in printed
    for word in ('psnr', 'lpips', 'OpenCVCenterCrop', 'kid'):
        assert word not in printed


def test_a_second_run_reports_that_it_uses_the_statistics_of_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ('made.npz', *RANDOM)
    assert evaluate.main(arguments) == 0
    first = capsys.readouterr().out
    assert evaluate.main(arguments) == 0
    second = capsys.readouterr().out
    assert 'made.npz: using cached statistics of the same images' in second
    assert [line for line in second.splitlines() if 'statistics of the same' not in line] == first.splitlines()
    assert evaluate.main((*arguments, '--no-cache')) == 0
    assert 'statistics of the same images' not in capsys.readouterr().out


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    save_folder(random_pixels(3, 24), Path('large'))
    Path('empty').mkdir()
    np.savez('float.npz', arr_0=np.zeros((2, 4, 4, 3), np.float32))
    np.savez('pickled.npz', arr_0=np.array([{}]))
    np.savez('images.npz', images=random_pixels(2))
    for arguments, message in (
        (('nothing',), 'does not exist'),
        (('empty',), 'got an empty folder'),
        (('float.npz',), 'expected uint8 pixels'),
        (('pickled.npz',), 'pickled Python objects'),
        (('images.npz',), "expected 'arr_0'"),
        (('made.npz', '--reference', 'large'), '16x16 pixels like the samples, got 24x24'),
        (('made.npz', '--preset', 'admm'), "did you mean 'adm'?"),
        (('made.npz', '--metrics', 'fidd'), "did you mean 'fid'?"),
        (('made.npz', '--row', 't12.1'), "no row 't12.1'"),
        (('made.npz', '--classes'), 'expected a reference with classes'),
        (('made.npz', '--out', 'empty'), '--out empty is a folder'),
        (
            ('made.npz', '--save-stats', 'statistics'),
            "a name that ends in .npz, got 'statistics'; name it statistics.npz",
        ),
        (
            ('made.npz', '--save-stats', 'made.npz/x.npz'),
            '--save-stats made.npz/x.npz: expected made.npz to be a folder, got a file',
        ),
        (('made.npz', '--out', 'made.npz/new/x.json'), 'expected made.npz to be a folder, got a file'),
        (('made.npz', '--images', '0'), '--images: expected 1 or more, got 0'),
        (
            ('made.npz', '--reference', 'bundled'),
            '--reference bundled: expected a size, got none; set it with --crop 16',
        ),
        (('made.npz', '--reference', 'bundled', '--crop', '32'), 'an npz is not cropped: use --crop 16, or give image'),
        (('made.npz', '--out', '/proc/none/metrics.json'), '--out: expected a file that can be written'),
        (('made.npz', '--workers', '-1'), '--workers: expected 0 or more, got -1'),
        (('made.npz', '--crop', '0'), '--crop: expected 1 or more, got 0'),
        (('made.npz', '--device', 'foo'), "expected auto, cpu, cuda or cuda:N, got 'foo'"),
        (('made.npz', '--batch-size', '0'), 'batch size must be 1 or more'),
        (('made.npz', '--extractor', 'RandomFeature'), "did you mean 'RandomFeatures'?"),
        (('made.npz', '--extractor-options', 'sede=1'), "unknown argument 'sede'"),
    ):
        options = () if '--extractor' in arguments else RANDOM
        assert message in refused(capsys, *arguments, *options), arguments


def test_where_nothing_can_be_written_nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageSetStatistics, 'update', lambda *arguments: pytest.fail('it computes'))
    for arguments in (('--out', 'made.npz/x.json'), ('--save-stats', 'statistics')):
        assert evaluate.main(('made.npz', *RANDOM, '--no-cache', *arguments)) == 2


def test_a_disk_that_fills_while_statistics_are_saved_costs_no_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise UserError('statistics.npz could not be written (No space left on device); free some space on the disk.')

    monkeypatch.setattr(ImageSetStatistics, 'save', full)
    arguments = ('made.npz', *RANDOM, '--no-cache', '--save-stats', 'statistics.npz', '--out', 'metrics.json')
    assert evaluate.main(arguments) == 2
    printed = capsys.readouterr()
    assert 'is_random ' in printed.out
    assert 'error: --save-stats statistics.npz could not be written' in printed.err
    assert 'are in statistics.npz' not in printed.out
    assert json.loads(Path('metrics.json').read_text())['metrics']['is_random']['value'] > 1


def test_a_set_can_be_declared_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(('made.npz', *RANDOM, '--images', '150', '--out', 'metrics.json')) == 0
    printed = capsys.readouterr().out
    assert 'partial' not in printed
    assert 'adm: whole set declared as 150 images; pixels as the files hold them' in printed
    assert 'samples_from: user' in printed
    assert json.loads(Path('metrics.json').read_text())['preset']['samples_from'] == 'user'
    assert evaluate.main(('made.npz', *RANDOM, '--images', '200')) == 0
    assert 'note: partial: 150 images, the whole set is declared as 200' in capsys.readouterr().out


def test_what_does_not_exist_is_said_before_the_network_is_fetched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(
        FEATURE_EXTRACTORS.module_dict, 'InceptionV3', lambda **arguments: pytest.fail('the network is built')
    )
    for arguments in (
        ('missing.npz',),
        ('made.npz', '--reference', 'missing.npz'),
        ('made.npz', '--reference', 'gone/'),
    ):
        assert evaluate.main(arguments) == 2
        assert 'got nothing: it does not exist' in capsys.readouterr().err


def test_a_misspelt_name_is_refused_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, hint in ((('--preset', 'amd'), "did you mean 'adm'"), (('--metrics', 'fdi'), "no metric 'fdi'")):
        assert evaluate.main(('missing.npz', *arguments)) == 2
        assert hint in capsys.readouterr().err


def test_a_cache_that_is_a_file_is_said_to_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(('made.npz', *RANDOM, '--cache', 'real.npz')) == 0
    printed = capsys.readouterr().out
    assert 'real.npz is a file, not a folder: name another --cache' in printed
    assert 'free some space' not in printed


def test_one_image_is_singular_and_what_it_lacks_has_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    save_npz(random_pixels(1), Path('one.npz'))
    assert evaluate.main(('one.npz', '--reference', 'real.npz', *RANDOM)) == 0
    printed = capsys.readouterr().out
    assert '1 images' not in printed
    assert '   1 image; adm: partial, 1 of 50,000 images' in printed
    assert 'note: fid, sfid: too few images, the samples are 1 image and 2 are needed' in printed
    assert 'note: precision, recall: too few images, the samples are 1 image and 4 are needed' in printed


@pytest.mark.processes
def test_help_teaches_and_does_not_import_torch() -> None:
    for name in ('analyze', 'benchmark', 'evaluate', 'report', 'test', 'zoo'):
        script = f"""
import sys
from fvq_eval.commands.{name} import main
try:
    main(['--help'])
except SystemExit:
    sys.exit('torch' in sys.modules)
"""
        shown = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
        assert shown.returncode == 0, f'{name} imports torch'
        assert 'example:' in shown.stdout


ARGUMENTS = dict(preset='adm', extractor=dict(type='RandomFeatures'), save_every=0)
SCRIPT = f"""
from fvq_eval.generation import ImageSetEvaluator
from fvq_eval.statistics.image_set import ImageSetStatistics
evaluator = ImageSetEvaluator(**{ARGUMENTS!r})
print({{name: metric.value for name, metric in evaluator.evaluate('many.npz', 'real.npz').metrics.items()}})
"""


def start() -> subprocess.Popen[str]:
    """An evaluation in a process of its own."""
    return subprocess.Popen([sys.executable, '-c', SCRIPT], stdout=subprocess.PIPE, text=True)


@pytest.mark.processes
@pytest.mark.skipif(sys.platform != 'linux', reason='sends SIGKILL')
def test_a_killed_evaluation_goes_on_where_it_was_to_the_same_digits(tmp_path: Path) -> None:
    save_npz(random_pixels(1200, seed=3), Path('many.npz'), compressed=True)
    killed = start()
    deadline, unfinished = time.monotonic() + 200, tmp_path / 'cache/fvq/statistics/unfinished'
    while not any(len((read_json(path) or {'digests': []})['digests']) >= 5 for path in unfinished.glob('*.json')):
        assert killed.poll() is None, 'it ended before it could be killed'
        assert time.monotonic() < deadline
        time.sleep(0.002)
    killed.kill()
    killed.communicate()
    resumed, _ = start().communicate(timeout=200)
    assert 'images from an earlier, unfinished run' in resumed
    straight = ImageSetEvaluator(cache=None, **ARGUMENTS).evaluate('many.npz', 'real.npz')
    values = {name: metric.value for name, metric in straight.metrics.items()}
    assert resumed.splitlines()[-1] == str(values)
