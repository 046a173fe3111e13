"""The plot of every seed: a dot for each value, in the row and under the measure that it belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from fvq_eval.plots.figure import save
from fvq_eval.plots.seeds_plot import draw_seeds

ROWS = {'a': {'psnr': [24.0, 25.0], 'usage': [100.0]}, 'b': {'psnr': [22.0], 'usage': []}}


def test_dots_and_means(tmp_path: Path) -> None:
    figure = draw_seeds(ROWS, {'psnr': 'PSNR', 'ssim': 'SSIM', 'usage': 'usage'}, black='b')
    assert figure is not None
    psnr, usage = figure.axes
    dots, mean, other, other_mean = ([list(map(float, axis)) for axis in line.get_data()] for line in psnr.lines)
    assert dots == [[24.0, 25.0], [0.0, 0.0]]
    assert mean == [[24.5], [0.0]]
    assert other == other_mean == [[22.0], [1.0]]
    assert [line.get_color() for line in psnr.lines[2:]] == ['black', 'black']
    assert [len(line.get_xdata()) for line in usage.lines] == [1, 1, 0]
    assert [label.get_text() for label in psnr.get_yticklabels()] == ['a', 'b']
    assert psnr.get_ylim()[0] > psnr.get_ylim()[1]  # the first row is at the top
    save(figure, tmp_path / 'seeds.png')
    assert (tmp_path / 'seeds.png').stat().st_size > 1000


@pytest.mark.parametrize('rows', [{}, {'a': {'usage': []}}])
def test_nothing_to_draw(rows: dict[str, dict[str, list[float]]]) -> None:
    assert draw_seeds(rows, {'psnr': 'PSNR', 'usage': 'usage'}) is None
