"""Two processes with half the batch each train like one with all of it, with copies of the weights or with parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fvq_core.errors import UserError
from fvq_core.registry import MODELS
from fvq_core.training.smoke import identical

from .tiny import generator_config
from .two_ranks import CASES, local_numbers, run_both_ranks, train


@pytest.fixture(scope='module')
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_both_ranks(tmp_path_factory.mktemp('ranks'))


@pytest.fixture(scope='module')
def one() -> dict[str, Any]:
    return train({}, 0, 1)


@pytest.mark.parametrize('name', CASES)
def test_two_ranks_equal_one_process_with_the_double_batch(name: str, ranks: list[Any], one: dict[str, Any]):
    for step, wanted in enumerate(one['log']):
        losses = torch.stack([rank[name]['log'][step]['total'] for rank in ranks])
        torch.testing.assert_close(losses.mean(), wanted['total'], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ranks[0][name]['log'][step]['norm'], wanted['norm'], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ranks[0][name]['final'], one['final'], rtol=1e-4, atol=1e-5)
    other = ranks[1][name]['final']
    assert identical({key: ranks[0][name]['final'][key] for key in other}, other)


@pytest.mark.parametrize('name', CASES)
def test_a_checkpoint_is_that_of_one_process_and_resumes_exactly(name: str, ranks: list[Any], one: dict[str, Any]):
    saved = ranks[0][name]['saved']
    for part in ('state_dict', 'ema_state_dict'):
        torch.testing.assert_close(saved[part], one['saved'][part], rtol=1e-4, atol=1e-5)
    assert not identical(saved['ema_state_dict'], saved['state_dict'])
    got, wanted = (s['optimizer']['generator'] for s in (saved, one['saved']))
    assert got['state'].keys() == wanted['state'].keys()
    for number, state in wanted['state'].items():
        torch.testing.assert_close(got['state'][number]['exp_avg'], state['exp_avg'], rtol=1e-3, atol=1e-6)
    assert identical(ranks[0][name]['resumed'], ranks[0][name]['final'])


def test_each_of_two_processes_keeps_half_of_the_weights(ranks: list[Any]):
    total = local_numbers({})
    assert ranks[0]['ddp']['kept'] == ranks[1]['ddp']['kept'] == total
    assert ranks[0]['sharded']['kept'] + ranks[1]['sharded']['kept'] == total
    assert abs(ranks[0]['sharded']['kept'] - total / 2) < 0.02 * total


def test_an_unknown_type_of_shards_is_refused():
    with pytest.raises(UserError, match="unknown shard 'bfloat'; did you mean 'bfloat16'"):
        MODELS.build(dict(type='GeneratorTask', generator=generator_config(), shard='bfloat'))
