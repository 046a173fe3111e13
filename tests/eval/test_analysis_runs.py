"""Runs are found, named and grouped as their configs say, and their curves are means with bands."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from fvq_core.errors import UserError
from fvq_eval.analysis.codebook_size import size_lines
from fvq_eval.plots.bands import band, band_of
from fvq_eval.plots.run_curves_plot import PROBE, USAGE, Panel, run_bands
from fvq_eval.reports.analysis_reports import report_curves, report_sizes
from fvq_eval.runs.run import final_mean, find_runs, group_runs


def make_run(
    work_dir: Path, seed: int = 0, projector: str = 'LinearProjector', size: int = 64, scale: float = 1.0, **config: Any
) -> Path:
    """A work dir with a config and a history of four training rows and one evaluation."""
    quantizer = dict(type='VectorQuantizer', codebook_size=size, code_dim=8, projector=dict(type=projector))
    if projector == 'VQBridge':
        quantizer['projector']['patch_size'] = size // 16
    entries = dict(
        model=dict(type='TokenizerTask', tokenizer=dict(type='Tokenizer', quantizer=quantizer)),
        randomness=dict(seed=seed),
        work_dir=str(work_dir),
        **config,
    )
    work_dir.mkdir(parents=True)
    (work_dir / 'resolved_config.json').write_text(json.dumps(entries))
    rows = [
        {'iter': i, 'split': 'train', 'loss': scale / i, 'loss/codebook': 2 * scale / i, 'loss/commitment': scale / i}
        | {'loss/reconstruction': 5.0 / i, 'usage_window': 10.0 * i}
        for i in (1, 2, 3, 4)
    ]
    rows.append({'iter': 4, 'split': 'eval', 'usage': 40.0 * scale, 'relative_quantization_error': 0.1 * scale})
    (work_dir / 'history.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return work_dir


def test_runs_are_found_below_a_folder_and_once(tmp_path: Path) -> None:
    one, other = make_run(tmp_path / 'a/fvq-0'), make_run(tmp_path / 'a/fvq-1', seed=1)
    make_run(tmp_path / 'a/fvq-0/previous_1')
    make_run(tmp_path / 'a/fvq-0/resumed')
    assert [run.path for run in find_runs([tmp_path, one])] == [one, other]
    assert [run.seed for run in find_runs([other, one])] == [1, 0]


def test_what_holds_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='holds no run'):
        find_runs([tmp_path])
    with pytest.raises(UserError, match='is not a folder'):
        find_runs([tmp_path / 'nothing'])


@pytest.mark.parametrize('randomness', ['x', [1], {'seed': '.*'}, {'seed': [1]}])
def test_a_seed_that_is_not_a_whole_number_is_refused(randomness: Any, tmp_path: Path) -> None:
    path = make_run(tmp_path / 'run') / 'resolved_config.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'randomness': randomness}))
    with pytest.raises(UserError, match=r"resolved_config\.json: 'randomness' is"):
        find_runs([tmp_path])


@pytest.mark.parametrize(
    ('work_dir', 'seed', 'name'),
    [
        ('fvq-2', 2, 'fvq'),
        ('fvq_seed2', 2, 'fvq'),
        ('fvq_16k', 2, 'fvq_16k'),
        ('fvq/seed_2', 2, 'fvq'),
        ('lr0.01', 2, 'lr0.01'),
    ],
)
def test_an_unfinished_run_is_named_by_its_work_dir_without_the_seed(
    tmp_path: Path, work_dir: str, seed: int, name: str
) -> None:
    (run,) = find_runs([make_run(tmp_path / work_dir, seed)])
    assert run.name == name


def test_a_finished_run_is_named_by_its_config(tmp_path: Path) -> None:
    work_dir = make_run(tmp_path / 'try')
    (work_dir / 'metrics.json').write_text(json.dumps({'config': 'configs/mini/linear.py'}))
    assert find_runs([work_dir])[0].name == 'linear'


def test_seeds_of_one_config_are_one_group_and_configs_of_one_name_are_two(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(tmp_path / f'one/vq-{seed}', seed, train_cfg=dict(max_iters=4))
    make_run(tmp_path / 'two/vq-0', 0, train_cfg=dict(max_iters=9))
    make_run(tmp_path / 'two/fvq-0', 0, 'VQBridge')
    groups = group_runs(find_runs([tmp_path]))
    assert {label: len(runs) for label, runs in groups.items()} == {
        f'vq ({tmp_path}/one/vq-0)': 2,
        'fvq': 1,
        f'vq ({tmp_path}/two/vq-0)': 1,
    }


def test_a_band_is_mean_lowest_and_highest_where_all_runs_have_a_value() -> None:
    found = band([{10: 1.0, 20: 5.0, 30: 7.0}, {20: 2.0, 10: 3.0}, {}])
    assert (found.x, found.mean, found.low, found.high, found.runs) == ([10, 20], [2.0, 3.5], [1.0, 2.0], [3.0, 5.0], 2)
    assert band([]).x == []
    assert band_of({4: [1.0, 2.0, 6.0], 2: [], 1: [5.0]}).mean == [5.0, 3.0]


def test_a_panel_divides_and_passes_over_what_is_missing_or_not_finite() -> None:
    rows = [
        {'iter': 1, 'split': 'probe', 'shift': 6.0, 'std': 2.0},
        {'iter': 2, 'split': 'probe', 'shift': 6.0, 'std': 0.0},
        {'iter': 3, 'split': 'probe', 'shift': float('nan'), 'std': 2.0},
        {'iter': 4, 'split': 'train', 'shift': 6.0, 'std': 2.0},
        {'iter': 5, 'split': 'probe', 'std': 2.0},
    ]
    assert Panel('', 'probe', 'shift', over='std').values(rows) == {1: 3.0}


def test_panels_that_no_run_has_values_for_are_left_out(tmp_path: Path) -> None:
    rows = find_runs([make_run(tmp_path / 'vq-0')])[0].rows
    assert list(run_bands({'vq': [rows]}, (*PROBE, *USAGE))) == list(USAGE)


def test_curves_are_drawn_and_tabled(tmp_path: Path) -> None:
    for seed, scale in ((0, 1.0), (1, 2.0)):
        make_run(tmp_path / f'runs/linear-{seed}', seed, scale=scale)
        make_run(tmp_path / f'runs/fvq-{seed}', seed, 'VQBridge', scale=scale)
    assert report_curves(find_runs([tmp_path / 'runs']), USAGE, 'curves', str(tmp_path / 'out')) == ['fvq', 'linear']
    with open(tmp_path / 'out/curves.csv') as file:
        rows = list(csv.DictReader(file))
    (loss,) = [
        row for row in rows if row['panel'] == 'training loss' and row['line'] == 'linear' and row['iter'] == '2'
    ]
    assert [float(loss[key]) for key in ('mean', 'low', 'high', 'runs')] == [0.75, 0.5, 1.0, 2.0]
    assert (tmp_path / 'out/curves.png').read_bytes().startswith(b'\x89PNG')
    with pytest.raises(UserError, match='none of the 4 runs has logged any of relative_estimation_error'):
        report_curves(find_runs([tmp_path / 'runs']), PROBE, 'probe', str(tmp_path / 'out'))


def test_runs_that_differ_only_in_size_and_seed_are_one_line(tmp_path: Path) -> None:
    for size in (256, 64):
        for seed in (0, 1):
            make_run(tmp_path / f'linear_{size}-{seed}', seed, 'LinearProjector', size)
        make_run(tmp_path / f'fvq_{size}', 0, 'VQBridge', size)
        make_run(tmp_path / f'flat_{size}', 0, 'VQBridge', size, param_scheduler=dict(decay='none'))
    found = {
        line.name: {size: len(runs) for size, runs in line.runs.items()} for line in size_lines(find_runs([tmp_path]))
    }
    assert found == {'Linear': {64: 2, 256: 2}, 'VQBridge': {64: 1, 256: 1}, 'VQBridge, no annealing': {64: 1, 256: 1}}


def test_the_end_of_a_run_is_the_mean_of_its_last_rows(tmp_path: Path) -> None:
    (run,) = find_runs([make_run(tmp_path / 'vq')])
    terms = ('loss/codebook', 'loss/commitment', 'loss/unheard')
    assert final_mean(run, 'train', terms) == 3.0 / 4
    assert final_mean(run, 'train', terms, share=0.5) == (3.0 / 3 + 3.0 / 4) / 2
    assert final_mean(run, 'eval', terms) is None


def test_sizes_are_drawn_and_tabled(tmp_path: Path) -> None:
    for size in (64, 256):
        make_run(tmp_path / f'runs/linear_{size}', 0, 'LinearProjector', size, scale=64 / size)
    table = report_sizes(find_runs([tmp_path / 'runs']), str(tmp_path / 'out'))
    assert [(row['codebook_size'], row['final VQ loss']) for row in table] == [(64, 0.75), (256, 0.1875)]
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'size.png', 'size_curves.png', 'size.csv'}
