"""Two processes with half the batch each train like one with all of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.training.smoke import identical

from .two_ranks import CASES, STEPS, run_both_ranks, train

EXACT = [name for name in CASES if name != 'batch_norm']  # BatchNorm sees half a batch on each rank


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('ranks')


@pytest.fixture(scope='module')
def ranks(folder: Path) -> list[dict[str, Any]]:
    return run_both_ranks(folder)


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


def test_evaluation_goes_by_what_all_ranks_have_read(ranks: list[dict[str, Any]], folder: Path) -> None:
    found = [json.loads((folder / f'evaluations{rank}.json').read_text()) for rank in range(2)]
    together = 'too many together'  # each rank names a file of its own
    assert {**found[0], together: ''} == {**found[1], together: ''}
    assert found[0]['one image'] == '1 images'
    assert found[0]['one rank reads nothing'] == '4 images'
    assert found[0][together].startswith('2 of 8 images cannot be read, more than max_unreadable=0.2 allows')
    assert found[0]['no image'] == 'the evaluation set has no readable image.'
    assert found[0]['an error of one rank'] == 'images differ in size'
