"""Learning rates: none counts before all were tried, and those of another benchmark were tried for all rows alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from fvq_core.errors import UserError
from fvq_eval.benchmark import run as run_module
from fvq_eval.benchmark.chosen_rates import choice_text, chosen_rates
from fvq_eval.benchmark.report import rows_at_the_edge
from fvq_eval.benchmark.rows import read_rows
from fvq_eval.benchmark.scheduler import Benchmark
from fvq_eval.benchmark.sentences import selected, tried
from fvq_eval.benchmark.summary import summarize
from fvq_eval.benchmark.tables import failures_table, rates_table
from fvq_eval.commands.benchmark import main

from .benchmark_runs import FVQ, OPTIONS, VQ, leave, leave_result


def test_rates_of_another_benchmark_are_its_best_and_nothing_is_tuned_again(tmp_path: Path) -> None:
    scores = {'mini/vq': {0.3: 20.0, 1.0: 21.0, 3.0: 22.0}, 'mini/fvq': {0.3: 25.0, 1.0: 27.0, 3.0: 26.0}}
    for key, of_row in scores.items():
        for factor, psnr in of_row.items():
            leave_result(run_module.run_folder(tmp_path, key, factor, 0), psnr)
    leave_result(run_module.run_folder(tmp_path, 'mini/vq', 1.0, 1), 99.0)  # another seed chooses nothing
    rows = read_rows([VQ, FVQ], OPTIONS)
    rates = chosen_rates(tmp_path, rows, 0)
    assert rates.best == {'mini/vq': 3.0, 'mini/fvq': 1.0}
    assert str(rates) == 'factors 0.3, 1, 3'
    benchmark = Benchmark(rows, [0, 1], [1.0], tmp_path / 'other', chosen=rates.best)
    assert [str(run) for run in benchmark.tuning_runs()] == ['mini/vq lr x3 seed 0', 'mini/fvq lr x1 seed 0']
    leave_result(benchmark.tuning_runs()[0].folder, 10.0)
    assert [str(run) for run in benchmark.seed_runs()] == ['mini/vq lr x3 seed 1']


def test_the_photos_that_rates_were_chosen_on_are_called_others_only_if_they_are(tmp_path: Path) -> None:
    rows = read_rows([VQ], OPTIONS)
    (run,) = Benchmark(rows, [0], [3.0], tmp_path).tuning_runs()
    assert choice_text(tmp_path, rows, 0) == ''  # nothing is known
    run_module.prepare(run, [])
    assert choice_text(tmp_path, rows, 0) == ', on photos that rows are scored on here, which flatters them'
    assert rows[0].cfg is not None
    rows[0].cfg.photos = dict(train='a', evaluation='b')
    assert choice_text(tmp_path, rows, 0) == ', on other photos'
    run_module.prepare(Benchmark(rows, [0], [1.0], tmp_path).tuning_runs()[0], [])
    assert choice_text(tmp_path, rows, 0).startswith(', on photos that rows are scored on here')


def test_rates_of_a_benchmark_without_a_row_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave_result(run_module.run_folder(tmp_path, 'mini/vq', 1.0, 0), 20.0)
    assert main([VQ, FVQ, '--rates-of', str(tmp_path), '--work-dir', str(tmp_path / 'out')]) == 2
    assert 'has no finished run with seed 0 of fvq; train them there first' in capsys.readouterr().err
    assert main([VQ, '--rates-of', str(tmp_path), '--lr-factors', '1', '3', '--work-dir', str(tmp_path / 'out')]) == 2
    assert 'exclude each other' in capsys.readouterr().err


def test_a_rate_that_only_one_row_was_tried_at_does_not_count(tmp_path: Path) -> None:
    for key, factors in (('mini/vq', (1.0, 3.0, 10.0)), ('mini/fvq', (1.0, 3.0))):
        for factor in factors:
            leave_result(run_module.run_folder(tmp_path, key, factor, 0), 20.0 + factor)
    rows = read_rows([VQ, FVQ], OPTIONS)
    rates = chosen_rates(tmp_path, rows, 0)
    assert rates.best == {'mini/vq': 3.0, 'mini/fvq': 3.0}
    assert str(rates) == 'factors 1, 3 (10 left out: not tried for all)'
    leave(run_module.run_folder(tmp_path, 'mini/fvq', 10.0, 0), {'status': 'failed', 'reason': 'diverged'})
    assert chosen_rates(tmp_path, rows, 0).best == {'mini/vq': 10.0, 'mini/fvq': 3.0}  # tried all the same


def test_rows_without_a_common_rate_are_refused(tmp_path: Path) -> None:
    leave_result(run_module.run_folder(tmp_path, 'mini/vq', 1.0, 0), 20.0)
    leave_result(run_module.run_folder(tmp_path, 'mini/fvq', 3.0, 0), 20.0)
    with pytest.raises(UserError, match=r'did not tune these rows alike.*\(vq: 1; fvq: 3\).*the same --lr-factors'):
        chosen_rates(tmp_path, read_rows([VQ, FVQ], OPTIONS), 0)


# --- tuning that is not finished ---


def test_half_finished_tuning_is_called_that(tmp_path: Path) -> None:
    benchmark = Benchmark(read_rows([VQ, FVQ], OPTIONS), [0, 1], [1.0, 3.0, 10.0], tmp_path)
    leave_result(run_module.run_folder(tmp_path, 'mini/vq', 1.0, 0), 20.0)
    summaries = summarize(benchmark, {})
    assert {summary.row.name: summary.failure for summary in summaries} == {
        'vq': '1 of 3 rates so far',
        'fvq': 'not trained yet',
    }
    shown = failures_table(summaries)
    assert shown is not None
    assert ['vq', '1 of 3 rates so far'] in shown.rows
    assert tried(benchmark, summaries) == [
        'Learning-rate factors to be tried for every row alike: 1, 3, 10; not done yet: vq, fvq.'
    ]
    assert selected(benchmark, summaries) == []
    assert rows_at_the_edge(benchmark, summaries) == []
    assert [line[-1] for line in rates_table(summaries).rows][:2] == ['best so far', 'not trained yet']


def test_finished_tuning_is_called_that_and_points_at_no_appendix_that_is_not_there(tmp_path: Path) -> None:
    benchmark = Benchmark(read_rows([VQ], OPTIONS), [0, 1], [1.0, 3.0], tmp_path)
    for factor in (1.0, 3.0):
        leave_result(run_module.run_folder(tmp_path, 'mini/vq', factor, 0), 20.0 + factor)
    summaries = summarize(benchmark, {})
    assert summaries[0].failure == ''
    assert tried(benchmark, summaries) == ['Learning-rate factors tried for every row alike: 1, 3.']
    assert rows_at_the_edge(benchmark, summaries) == ['vq']
    (text,) = selected(benchmark, summaries)
    assert text.endswith('which flatters all rows.')
    leave_result(run_module.run_folder(tmp_path, 'mini/vq', 3.0, 1), 20.0)
    (text,) = selected(benchmark, summarize(benchmark, {}))
    assert text.endswith('the appendix has the means without it.')


# --- runs of another call ---


def test_runs_of_another_config_give_the_row_no_number(tmp_path: Path) -> None:
    for steps in (2, 3):
        rows = read_rows([VQ], {**OPTIONS, 'train_cfg.max_iters': steps})
        benchmark = Benchmark(rows, [0], [1.0], tmp_path)
        (run,) = benchmark.tuning_runs()
        if steps == 2:
            run_module.prepare(run, [])
            leave_result(run.folder, 20.0)
        (summary,) = summarize(benchmark, {})
        assert bool(summary.runs) == (steps == 2)
    assert summary.failure.startswith('of another config (lr x1, seed 0): data, steps, options or metrics')
    assert summary.cells == {}


def test_a_failed_first_seed_costs_no_other_seed_of_a_row_with_one_rate(tmp_path: Path) -> None:
    (row,) = rows = read_rows([VQ], OPTIONS)
    benchmark = Benchmark(rows, [0, 1, 2], [1.0, 3.0], tmp_path, chosen={row.key: 3.0})
    leave(run_module.run_folder(tmp_path, row.key, 3.0, 0), {'status': 'failed', 'reason': 'diverged'})
    assert [str(run) for run in benchmark.seed_runs()] == ['mini/vq lr x3 seed 1', 'mini/vq lr x3 seed 2']
    for seed in (1, 2):
        leave_result(run_module.run_folder(tmp_path, row.key, 3.0, seed), 20.0 + seed)
    (summary,) = summarize(benchmark, {})
    assert [run.seed for run in summary.runs] == [1, 2]
    assert summary.cells['psnr'].values == [21.0, 22.0]
    assert summary.failure == 'failed (lr x3, seed 0): diverged'
