"""A study's page: claims with intervals over seeds and photos, corrected for their number, and nothing that is not shown."""

from __future__ import annotations

import csv
import functools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fvq_core.errors import UserError
from fvq_core.files.arrays import write_npz
from fvq_eval.benchmark import local_processes, worker
from fvq_eval.benchmark.contrasts import contrasts
from fvq_eval.benchmark.disjoint_codes import cap, disjoint_codes
from fvq_eval.benchmark.rows import Row, read_rows
from fvq_eval.benchmark.run import BenchmarkRun
from fvq_eval.benchmark.scheduler import Benchmark
from fvq_eval.benchmark.study import read_study, study_rows
from fvq_eval.benchmark.study_tables import contrasts_table
from fvq_eval.benchmark.summary import Cell, RowSummary
from fvq_eval.commands.benchmark import main

from .benchmark_runs import CONFIRMATORY, FVQ, OPTIONS, VQ, leave

SEEDS, PHOTOS, CROPS = range(5), 10, 3


@functools.cache
def row_of(config: str) -> Row:
    (row,) = read_rows([config], OPTIONS, lengths=[4])
    return row


def summary(
    config: str, folder: Path, psnr: np.ndarray, seeds: Any = SEEDS, failed: tuple[int, ...] = ()
) -> RowSummary:
    """A row whose runs left these scores (seeds, crops), except for seeds that failed."""
    row, runs, tried = row_of(config), [], []
    for seed, scores in zip(seeds, psnr, strict=False):
        run = Benchmark([row], [seed], [1.0], folder).tuning_runs()[0]
        if seed in failed:
            tried.append((run, {'status': 'failed', 'reason': 'the loss is not finite'}))
            continue
        leave(run.folder, {'status': 'finished', 'metrics': {'psnr': {'value': float(scores.mean())}}})
        labels = np.arange(PHOTOS * CROPS) % PHOTOS
        write_npz(run.folder / 'per_image.npz', {'psnr': scores, 'labels': labels}, '')
        runs.append(run)
        tried.append((run, run.result()))
    cells = {'psnr': Cell([float(scores.mean()) for scores in psnr])}
    return RowSummary(row, runs=runs, tried=tried, factor=1.0, cells=cells, rates=1, rates_done=1)


def scores(seed: int, gain: float, of_seed: float) -> tuple[np.ndarray, np.ndarray]:
    """Two methods of five seeds on the same crops: photos and seeds matter to both, and the first gains."""
    rng = np.random.default_rng(seed)
    common = rng.normal(25, 4, (1, PHOTOS * CROPS)) + rng.normal(0, 2, (len(SEEDS), 1))
    return common + gain + rng.normal(0, of_seed, (len(SEEDS), 1)), common


def test_a_difference_is_paired_by_seed_and_knows_photos(tmp_path: Path) -> None:
    one, other = scores(0, gain=0.5, of_seed=0.1)
    rows = {('fvq', 4): summary(FVQ, tmp_path, one), ('vq', 4): summary(VQ, tmp_path, other)}
    (found,) = contrasts(rows, [('fvq', 'vq')], 4, SEEDS)
    paired = (one - other).mean(1)  # seeds spread by 2 dB, differences by 0.1
    assert found.difference is not None
    assert found.difference.values == pytest.approx(paired)
    assert found.difference.p == pytest.approx(stats.ttest_rel(one.mean(1), other.mean(1)).pvalue)
    assert found.mixed is not None
    assert found.mixed[0] < 0.5 < found.mixed[1]
    assert (found.seeds, found.adjusted, found.verdict) == (tuple(SEEDS), found.difference.p, 'better')
    assert found.detectable == pytest.approx(1.346 / 0.8 * paired.std(ddof=1), rel=1e-3)
    (turned,) = contrasts(rows, [('vq', 'fvq')], 4, SEEDS)
    assert turned.verdict == 'worse'


def test_a_claim_stands_only_after_the_correction_of_its_family(tmp_path: Path) -> None:
    one, other = scores(1, gain=0.2, of_seed=0.14)
    rows = {('fvq', 4): summary(FVQ, tmp_path, one), ('vq', 4): summary(VQ, tmp_path, other)}
    (alone,) = contrasts(rows, [('fvq', 'vq')], 4, SEEDS)
    assert alone.verdict == 'better'
    assert alone.adjusted is not None
    assert 0.01 < alone.adjusted < 0.05
    # Claims that nobody has tested yet still count.
    family = contrasts(rows, [('fvq', 'vq'), *(('fvq', name) for name in 'abcd')], 4, SEEDS)
    assert family[0].adjusted == pytest.approx(5 * alone.adjusted)
    assert family[0].verdict == 'not shown after correction'
    assert [(each.adjusted, each.verdict) for each in family[1:]] == [(None, '0 of 5 seeds so far')] * 4
    (exploratory,) = contrasts(rows, [('fvq', 'vq')], 8, SEEDS)
    assert (exploratory.claimed, exploratory.adjusted, exploratory.verdict) == (False, None, 'better')


def test_few_seeds_say_little(tmp_path: Path) -> None:
    one, other = scores(2, gain=0.5, of_seed=0.1)
    rows = {('fvq', 4): summary(FVQ, tmp_path, one[:1]), ('vq', 4): summary(VQ, tmp_path, other)}
    (found,) = contrasts(rows, [('fvq', 'vq')], 4, SEEDS)
    assert (found.seeds, found.mixed, found.verdict) == ((0,), None, '1 of 5 seeds so far')
    noisy, _ = scores(3, gain=0.0, of_seed=1.0)
    rows['fvq', 4] = summary(FVQ, tmp_path, noisy)
    assert contrasts(rows, [('fvq', 'vq')], 4, SEEDS)[0].verdict == 'no difference shown'


def test_no_claim_is_tested_before_every_planned_seed_of_both_rows_has_ended(tmp_path: Path) -> None:
    one, other = scores(2, gain=0.5, of_seed=0.05)  # three seeds would do for a p below 0.01
    rows = {('fvq', 4): summary(FVQ, tmp_path, one[:3]), ('vq', 4): summary(VQ, tmp_path, other)}
    (found,) = contrasts(rows, [('fvq', 'vq')], 4, SEEDS)
    assert found.difference is not None
    assert found.difference.p is not None
    assert found.difference.p < 0.01
    assert (found.p, found.adjusted, found.verdict) == (None, None, '3 of 5 seeds so far')
    (line,) = contrasts_table([found], claimed=True).rows
    assert [cell.endswith(' so far') for cell in line] == [False, False, True, False, True, False, False, False, True]
    (planned,) = contrasts(rows, [('fvq', 'vq')], 4, [0, 1, 2])  # the others' two further seeds are in no difference
    assert (planned.seeds, planned.adjusted, planned.verdict) == ((0, 1, 2), found.difference.p, 'better')
    rows['vq', 4].rates = 2  # its rate may still change
    assert contrasts(rows, [('fvq', 'vq')], 4, [0, 1, 2])[0].verdict == '0 of 3 seeds so far'


def test_failed_seeds_have_ended_are_named_and_count_against_the_row_ahead(tmp_path: Path) -> None:
    one, other = scores(2, gain=0.5, of_seed=0.05)
    rows = {('fvq', 4): summary(FVQ, tmp_path, one), ('vq', 4): summary(VQ, tmp_path, other, failed=(1, 3))}
    (found,) = contrasts(rows, [('fvq', 'vq')], 4, SEEDS)
    assert (found.ended, found.seeds) == (tuple(SEEDS), (0, 2, 4))
    assert found.verdict == 'better (failed seeds: vq with 1, 3)'
    assert contrasts(rows, [('vq', 'fvq')], 4, SEEDS)[0].verdict == 'worse (failed seeds: vq with 1, 3)'
    rows['fvq', 4] = summary(FVQ, tmp_path, one, failed=(0,))
    (found,) = contrasts(rows, [('fvq', 'vq')], 4, SEEDS)
    assert found.verdict == 'not shown (failed seeds: fvq with 0; vq with 1, 3)'
    rows['fvq', 4].tried = rows['fvq', 4].tried[:2]
    found = contrasts(rows, [('fvq', 'vq')], 4, SEEDS)[0]
    assert found.verdict == '2 of 5 seeds so far (failed seeds: fvq with 0; vq with 1, 3)'
    rows['vq', 4].factor = None  # of several rates, none was left
    assert contrasts(rows, [('fvq', 'vq')], 4, SEEDS)[0].failed['vq'] == tuple(SEEDS)


def test_positions_without_overlap_limit_usage_too() -> None:
    (row,) = read_rows([VQ], OPTIONS)  # 1,024 crops of 64x64 of the right quarters of ten photos, 256 codes each
    codes = disjoint_codes(row, 'val')
    assert codes is not None
    assert codes < 1024 * 256
    assert disjoint_codes(row, 'val', counted=100) == 100
    assert cap(codes, codes) == pytest.approx(100 * (1 - 1 / np.e))


def test_the_planned_study_is_one() -> None:
    study = read_study(str(CONFIRMATORY / 'study.json'))
    names = {path.stem for path in CONFIRMATORY.glob('*.py')}
    assert {name for claim in study.claims for name in claim} <= names
    assert names == {'fvq', 'mlp5', 'linear', 'vq', 'ema_restart', 'simvq'}
    assert study.seeds == (1, 2, 3, 4, 5)


def test_rows_that_a_study_cannot_tell_apart_and_claims_without_a_row_are_refused(tmp_path: Path) -> None:
    study = replace(read_study(str(CONFIRMATORY / 'study.json')), claims=(('fvq', 'vq'),))
    rows = read_rows([VQ, FVQ], OPTIONS, lengths=[4, 8])
    assert set(study_rows(rows, study)) == {('vq', 4), ('fvq', 4), ('vq', 8), ('fvq', 8)}
    with pytest.raises(UserError, match='mini/vq and mini/k4096/vq are both vq after 400 steps'):
        study_rows(read_rows([VQ, FVQ], {}, [None, 'k4096']), study)
    with pytest.raises(UserError, match="claims are about 'fvq', and no row of this call is called so"):
        study_rows(rows[::2], study)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'claims': [['fvq']]}, 'claims must be pairs'),
        ({'claimed_at': '4'}, 'missing or of another type: claimed_at'),
        ({'extra': 1}, 'unknown: extra'),
        ({'not_measured': [1]}, 'not_measured must be sentences'),
        ({'seeds': [1]}, 'seeds must be two or more different whole numbers'),
        ({'seeds': [1, 1]}, 'seeds must be two or more different whole numbers'),
    ],
)
def test_a_study_of_another_form_is_refused_in_one_line(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    study = json.loads((CONFIRMATORY / 'study.json').read_text())
    path = tmp_path / 'study.json'
    path.write_text(json.dumps(study | change))
    with pytest.raises(UserError, match=message):
        read_study(str(path))


def test_rehearsal_of_a_study_on_the_bundled_photos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def execute(run: BenchmarkRun, env: Any) -> dict[str, Any]:
        worker.main(run.folder)
        return run.result() or {}

    monkeypatch.setattr(local_processes, 'execute', execute)
    study = json.loads((CONFIRMATORY / 'study.json').read_text())
    study |= {'claims': [['fvq', 'vq']], 'claimed_at': 2, 'seeds': [0, 1]}
    (tmp_path / 'study.json').write_text(json.dumps(study))
    options = [f'{key}={value}' for key, value in OPTIONS.items()] + ['val_dataloader.dataset.crops=12']
    call = [VQ, FVQ, '--lengths', '1', '2', '--seeds', '0', '1', '--perceptual', 'none', '--study']
    call += [str(tmp_path / 'study.json'), '--work-dir', str(tmp_path / 'out'), '--cfg-options', *options]
    assert main(call) == 0
    page, text = ((tmp_path / f'out/study.{kind}').read_text() for kind in ('html', 'md'))
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count('src="data:image/png') == 2  # curves and photos
    for shown in (page, text):
        assert 'Claims, after 2 steps' in shown
        assert 'fvq minus vq' in shown
        assert study['not_measured'][0].split(',')[0] in shown
        assert '<b>' not in shown
        assert '**' not in shown
    with open(tmp_path / 'out/contrasts.csv') as file:
        lines = list(csv.DictReader(file))
    assert [(line['steps'], line['claimed'], line['seeds']) for line in lines] == [
        ('1', 'False', '0 1'),
        ('2', 'True', '0 1'),
    ]
    with open(tmp_path / 'out/runs.csv') as file:
        psnr = {(run['row'], run['seed']): float(run['psnr']) for run in csv.DictReader(file)}
    differences = [psnr['steps2/fvq', seed] - psnr['steps2/vq', seed] for seed in '01']
    assert [float(value) for value in lines[1]['differences'].split()] == pytest.approx(differences, rel=1e-4)
    assert float(lines[1]['p']) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    with open(tmp_path / 'out/photos.csv') as file:
        photos = list(csv.DictReader(file))
    assert len(photos) == 8 * 10
