"""Two processes with half the batch each train like one with all of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fvq_core.smoke import identical

from .two_ranks import CASES, STEPS, run_both_ranks, train

EXACT = [name for name in CASES if name != 'batch_norm']  # BatchNorm sees half a batch on each rank


@pytest.fixture(scope='module')
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_both_ranks(tmp_path_factory.mktemp('ranks'))


@pytest.mark.parametrize('name', EXACT)
def test_two_ranks_equal_one_process_with_the_double_batch(name: str, ranks: list[dict[str, Any]]) -> None:
    one = train(CASES[name], 0, 1)
    for step in range(STEPS):
        for term, value in one['losses'][step].items():
            both = torch.stack([rank[name]['losses'][step][term] for rank in ranks]).mean()
            torch.testing.assert_close(both, value, rtol=1e-4, atol=1e-6, msg=lambda m, t=term: f'{t}: {m}')
    torch.testing.assert_close(ranks[0][name]['norms'], one['norms'], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ranks[0][name]['state'], one['state'], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('name', CASES)
def test_ranks_stay_in_sync_to_the_last_bit(name: str, ranks: list[dict[str, Any]]) -> None:
    assert identical(ranks[0][name]['state'], ranks[1][name]['state'])
