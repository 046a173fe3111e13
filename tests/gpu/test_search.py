"""The search of a codebook on a GPU."""

from __future__ import annotations

import pytest
import torch

from fvq_core.ops.nearest_code import nearest_code

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize('distance', ['l2', 'dot'])
@pytest.mark.parametrize('mean', [0.0, 30.0])
def test_the_nearest_code_is_that_of_float64_away_from_ties(distance: str, mean: float) -> None:
    z, codebook = (mean * (distance == 'l2') + torch.randn(count, 16) for count in (5000, 700))
    exact = dict(l2=lambda a, b: -torch.cdist(a, b).square(), dot=lambda a, b: a @ b.T)
    scores = exact[distance](z.double(), codebook.double())
    best = scores.topk(2).values
    clear = best[:, 0] - best[:, 1] > 1e-3
    assert clear.float().mean() > 0.98
    for max_scores in (None, 700 * 13):
        got = nearest_code(z.cuda(), codebook.cuda(), distance, max_scores).cpu()
        assert torch.equal(got[clear], scores.argmax(1)[clear])
