"""The tables of docs/benchmark.md are those of its runs, docs/benchmark_runs.csv."""

from __future__ import annotations

import csv
import re
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

from fvq_eval.benchmark.seed_differences import holm, paired_t

DOCS = Path(__file__).parents[2] / 'docs'
SECTION = '1,600 steps, three seeds'


def runs(table: str) -> dict[str, list[dict[str, float]]]:
    """Each row's runs, by seed."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    with (DOCS / 'benchmark_runs.csv').open(newline='') as file:
        for run in csv.DictReader(file):
            if run.pop('table') == table:
                found[run.pop('row')].append({key: float(value) for key, value in run.items() if value})
    return {row: sorted(each, key=lambda run: run['seed']) for row, each in found.items()}


def lines(section: str) -> dict[str, list[str]]:
    """The cells of a section's lines that name a row in parentheses, by row; numbers in the CSV are rounded too."""
    page = (DOCS / 'benchmark.md').read_text()
    body = page[page.index(f'\n## {section}\n') :].split('\n## ', 2)[1]
    cells = [[cell.strip(' *') for cell in line.strip('|').split('|')] for line in body.splitlines() if line[:1] == '|']
    named = [(re.search(r'\(`(\w+)`\)', each[0]), each) for each in cells]
    return {match[1]: each for match, each in named if match}


def claims() -> dict[str, list[str]]:
    """What the table of claims says of VQBridge minus each row."""
    rows = {'EMA with restart': 'ema_restart', 'MLP-5': 'mlp5', 'tuned plain VQ': 'vq_tuned'}
    found = re.findall(r'(?m)^\| FVQ minus (.*?) \|(.*)\|$', (DOCS / 'benchmark.md').read_text())
    return {rows[name]: [cell.strip() for cell in cells.split('|')] for name, cells in found}


def both(cell: str) -> tuple[float, ...]:
    """Mean and deviation of a cell."""
    return tuple(float(number) for number in cell.split(' ± '))


def test_the_table_of_three_seeds() -> None:
    found, tuned = runs('900 photos, 100 others'), runs('tuning photos')
    table = lines(SECTION)
    assert set(table) == set(found) == set(tuned)
    for row, (_, rate, psnr, each, ssim, features, usage, perplexity, bits) in table.items():
        chosen = max(tuned[row], key=lambda run: run['psnr'])
        assert [run['seed'] for run in found[row]] == [0, 1, 2]
        assert {run['lr'] for run in found[row]} == {chosen['lr']}, row
        assert float(rate.removeprefix('x ')) == pytest.approx(chosen['lr'] / 1e-3)
        column = {key: [run[key] for run in found[row]] for key in found[row][0]}
        mean = {key: statistics.fmean(values) for key, values in column.items()}
        spread = {key: statistics.stdev(values) for key, values in column.items()}
        assert both(psnr) == pytest.approx((mean['psnr'], spread['psnr']), abs=0.0055), row
        assert [float(value) for value in each.split(', ')] == pytest.approx(column['psnr'], abs=0.0505), row
        assert float(ssim) == pytest.approx(mean['ssim'], abs=0.00055), row
        assert float(features) == pytest.approx(mean['feature_distance'], abs=0.0055), row
        assert both(usage) == pytest.approx((mean['usage'], spread['usage']), abs=0.055), row
        assert float(perplexity) == pytest.approx(mean['perplexity'], abs=0.55), row
        assert float(bits) == pytest.approx(mean['effective_bits_per_image'], abs=0.55), row
    assert list(table) == sorted(table, key=lambda row: -statistics.fmean(run['psnr'] for run in found[row]))


def test_the_claims() -> None:
    found, table = runs('900 photos, 100 others'), claims()
    assert list(table) == ['ema_restart', 'mlp5', 'vq_tuned']
    measures = ('psnr', 'feature_distance')
    differences = {
        (row, key): paired_t([a[key] - b[key] for a, b in zip(found['fvq'], found[row], strict=True)])
        for row in table
        for key in measures
    }
    corrected = dict(zip(differences, holm([each.p or 0.0 for each in differences.values()]), strict=True))
    for row, cells in table.items():
        for key, (difference, p) in zip(measures, (cells[:2], cells[2:]), strict=True):
            mean, low, high = (float(number) for number in re.findall(r'[+-][\d.]+', difference))
            assert mean == pytest.approx(statistics.fmean(differences[row, key].values), abs=0.0055)
            assert (low, high) == pytest.approx(differences[row, key].interval, abs=0.0105)
            assert float(p) == pytest.approx(corrected[row, key], abs=0.05)
