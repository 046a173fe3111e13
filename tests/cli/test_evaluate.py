"""`tools/evaluate.py`: a row from samples alone, stamped; one line for a mistake; the report reads what it wrote."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fvq_core.commands import evaluate, report
from fvq_core.json_files import read_json
from fvq_core.registry import EVALUATORS
from fvq_eval.statistics.image_set import ImageSetStatistics
from tests.eval.image_sets import random_pixels, save_folder, save_npz

from .helpers import tool

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
    assert document['reference'] == 'real.npz'
    assert {'fd_random', 'sfd_random', 'is_random', 'precision_random', 'recall_random'} <= set(document['metrics'])
    for name, metric in document['metrics'].items():
        line = next(line for line in out.splitlines() if line.startswith(f'{name} '))
        assert metric['protocol'] in line
        assert f'{metric["value"]:.4g}' in line
        assert (metric['samples'], metric['weights']) == (150, 'made.npz')
    assert 'note: partial: 150 images, the preset requires 50,000' in out


def test_the_report_puts_an_evaluated_image_set_beside_the_papers_row() -> None:
    arguments = ('made.npz', '--reference', 'real.npz', *RANDOM, '--row', 't11.4', '--out', 'runs/adm/metrics.json')
    assert evaluate.main(arguments) == 0
    assert report.main(('runs', '--rows', 't11.4', '--out', 'out')) == 0
    document = json.loads(Path('runs/adm/metrics.json').read_text())
    precision = document['metrics'].pop('precision_random')
    marked = f'{precision["value"]:.4g}†'
    assert marked not in cells_of_row()  # another network's
    document['metrics']['precision'] = precision
    Path('runs/adm/metrics.json').write_text(json.dumps(document))
    assert report.main(('runs', '--rows', 't11.4', '--out', 'out')) == 0
    assert {marked, '150 of 50,000', '0.69'} <= set(cells_of_row())


def cells_of_row() -> list[str]:
    (line,) = [line for line in Path('out/report.md').read_text().splitlines() if line.startswith('| t11.4 |')]
    return line.strip('| ').split(' | ')


def test_statistics_saved_are_a_reference(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(('real.npz', *RANDOM, '--metrics', 'fid', '--save-stats', 'real_statistics.npz')) == 0
    assert 'without --reference there is no fid' in capsys.readouterr().out
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
    assert 'class 1' in capsys.readouterr().out
    classes = json.loads(Path('metrics.json').read_text())['classes']
    assert set(classes) == {'0', '1'}
    assert {metric['weights'] for metrics in classes.values() for metric in metrics.values()} == {'made.npz'}


def test_a_preset_is_printed_as_it_is_applied(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(('made.npz', '--reference', 'real.npz', *RANDOM, '--preset', 'ibq', '--no-cache')) == 0
    printed = capsys.readouterr().out
    assert 'crop: none, pixels as the files hold them' in printed
    assert 'extractor: random' in printed
    for word in ('psnr', 'lpips', 'OpenCVCenterCrop', 'kid'):
        assert word not in printed


def test_a_second_run_says_that_it_uses_the_statistics_of_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ('made.npz', *RANDOM)
    assert evaluate.main(arguments) == 0
    first = capsys.readouterr().out
    assert evaluate.main(arguments) == 0
    second = capsys.readouterr().out
    assert 'made.npz: statistics of the same images' in second
    assert [line for line in second.splitlines() if 'statistics of the same' not in line] == first.splitlines()
    assert evaluate.main((*arguments, '--no-cache')) == 0
    assert 'statistics of the same images' not in capsys.readouterr().out


def test_mistakes_cost_one_line(capsys: pytest.CaptureFixture[str]) -> None:
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
        (('made.npz', '--save-stats', 'made.npz/x.npz'), '--save-stats: expected a file that can be written'),
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
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(ImageSetStatistics, 'save', full)
    arguments = ('made.npz', *RANDOM, '--no-cache', '--save-stats', 'statistics.npz', '--out', 'metrics.json')
    assert evaluate.main(arguments) == 2
    printed = capsys.readouterr()
    assert 'is_random ' in printed.out
    assert 'error: --save-stats statistics.npz could not be written' in printed.err
    assert json.loads(Path('metrics.json').read_text())['metrics']['is_random']['value'] > 1


def test_help_is_fast_and_teaches(tmp_path: Path) -> None:
    for name in ('evaluate', 'report'):
        shown = tool(name, '--help', cwd=tmp_path)
        assert shown.returncode == 0
        assert 'example:' in shown.stdout


ARGUMENTS = dict(preset='adm', extractor=dict(type='RandomFeatures'), save_every=0)
SCRIPT = f"""
from fvq_core.registry import EVALUATORS
from fvq_eval.statistics.image_set import ImageSetStatistics
evaluator = EVALUATORS.build(dict(type='ImageSetEvaluator', **{ARGUMENTS!r}))
print({{name: metric.value for name, metric in evaluator.evaluate('many.npz', 'real.npz').metrics.items()}})
"""


def start() -> subprocess.Popen[str]:
    """An evaluation in a process of its own."""
    return subprocess.Popen([sys.executable, '-c', SCRIPT], stdout=subprocess.PIPE, text=True)


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
    assert 'images are those of an earlier, unfinished run' in resumed
    straight = EVALUATORS.build(dict(type='ImageSetEvaluator', cache=None, **ARGUMENTS)).evaluate(
        'many.npz', 'real.npz'
    )
    values = {name: metric.value for name, metric in straight.metrics.items()}
    assert resumed.splitlines()[-1] == str(values)
