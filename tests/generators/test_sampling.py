"""Filters, draws and guidance."""

from __future__ import annotations

import math

import pytest
import torch

from fvq_core.errors import NonFiniteError, UserError
from fvq_generators.sampling import (
    SCHEDULES,
    Sampler,
    SequenceGuidance,
    draw,
    draw_among_largest,
    filter_logits,
    guide,
    new_seeds,
    uniforms,
)


def test_top_k_keeps_the_largest_and_top_p_the_smallest_set_beyond_its_mass():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.15, 0.1]]))
    kept = [filter_logits(logits, *of).isfinite()[0].tolist() for of in ((2, 1.0), (0, 0.6), (0, 0.8), (3, 0.5))]
    assert kept == [
        [True, True, False, False],
        [True, True, False, False],
        [True] * 3 + [False],
        [True, False, False, False],
    ]
    assert filter_logits(logits) is logits


@pytest.mark.parametrize(('top_k', 'top_p'), [(-1, 1.0), (0, 0.0), (0, 1.5), (0, float('nan'))])
def test_filters_without_meaning_are_refused(top_k: int, top_p: float):
    with pytest.raises(UserError, match='top_k >= 0'):
        filter_logits(torch.zeros(1, 4), top_k, top_p)


def test_draws_are_distributed_as_the_softmax():
    logits = torch.tensor([0.3, -1.0, 2.0, -torch.inf, 0.0]).expand(40000, 5)
    counts = draw(logits, uniforms([0], 40000)[0]).bincount(minlength=5)
    torch.testing.assert_close(counts / 40000, logits[0].softmax(-1), rtol=0, atol=0.01)
    assert counts[3] == 0


@pytest.mark.parametrize(('top_k', 'top_p'), [(1, 1.0), (5, 1.0), (9, 0.7), (20, 0.96)])
def test_draws_among_the_largest_are_those_of_all_that_the_filters_leave(top_k: int, top_p: float):
    rng = torch.Generator().manual_seed(0)
    logits, uniform = torch.randn(4000, 64, generator=rng), torch.rand(4000, dtype=torch.float64, generator=rng)
    if top_p == 1.0:  # of equal ones at the edge of top-p, sorting keeps any
        logits[::3] = logits[::3].round()
    uniform[:2] = torch.tensor([0.0, 1.0 - 2.0**-53])
    drawn = draw_among_largest(logits, uniform, top_k, top_p)
    assert torch.equal(drawn, draw(filter_logits(logits, top_k, top_p), uniform))
    assert torch.equal(Sampler(top_k=top_k, top_p=top_p)(logits, uniform), drawn)
    alone = torch.cat([draw_among_largest(logits[[n]], uniform[[n]], top_k, top_p) for n in range(9)])
    assert torch.equal(alone, drawn[:9]), 'a row does not depend on the others'


def test_the_ends_of_the_unit_interval_draw_tokens_that_can_be_drawn():
    logits = torch.full((2, 6), -torch.inf)
    logits[:, 2:4] = 0.0
    assert draw(logits, torch.tensor([0.0, 1.0 - 2.0**-53], dtype=torch.float64)).tolist() == [2, 3]


def test_uniforms_of_a_seed_do_not_depend_on_the_others():
    many = uniforms([3, 2**61, 5], 4)
    assert torch.equal(many[1:2], uniforms([2**61], 4))
    assert len({*many.flatten().tolist()}) == 12
    assert new_seeds(3, torch.Generator().manual_seed(1)) == new_seeds(3, torch.Generator().manual_seed(1))


def test_temperature_zero_takes_the_likeliest_and_high_ones_level_out():
    logits, u = torch.randn(500, 8), torch.rand(500, dtype=torch.float64)
    assert torch.equal(Sampler(temperature=0.0)(logits, u), logits.argmax(-1))
    assert torch.equal(Sampler(top_k=1)(logits, u), logits.argmax(-1))
    hot = Sampler(temperature=1e6)(logits, u)
    assert (hot == (8 * u).long()).float().mean() > 0.99
    for wrong in (-1.0, 1e-40, math.inf, math.nan):
        with pytest.raises(UserError, match='temperature must be 0'):
            Sampler(temperature=wrong)
    assert torch.equal(Sampler(temperature=1e-5)(logits, u), logits.argmax(-1))


@pytest.mark.parametrize('sampler', [Sampler(), Sampler(0.0), Sampler(0.7, top_k=2), Sampler(top_p=0.5)])
def test_logits_that_are_not_finite_are_refused_and_tokens_that_are_left_out_are_not(sampler: Sampler):
    uniform = torch.full((2,), 0.3, dtype=torch.float64)
    for wrong in (math.nan, math.inf):
        with pytest.raises(NonFiniteError, match='the logits of a code are not finite'):
            sampler(torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0], [0.0, wrong, 1.0, 2.0, 3.0]]), uniform)
    assert sampler(torch.tensor([[-math.inf, -math.inf, -math.inf, -math.inf, 1.0]] * 2), uniform).tolist() == [4, 4]


def test_guidance_extrapolates_and_ends_after_its_interval():
    conditional, unconditional = torch.randn(2, 3, 4)
    both = torch.cat([conditional, unconditional])
    torch.testing.assert_close(guide(both, 2.5), 2.5 * conditional - 1.5 * unconditional)
    assert [SequenceGuidance(2.0, 1).at(number) for number in range(5)] == [True, True, True, False, False]
    assert all(SequenceGuidance(2.0).at(number) for number in range(5))
    assert not any(SequenceGuidance(1.0).at(number) for number in range(5))
    for wrong in (dict(cfg_scale=0.5), dict(cfg_scale=math.nan), dict(cfg_scale=math.inf), dict(cfg_interval=-2)):
        with pytest.raises(UserError, match='cfg_'):
            SequenceGuidance(**wrong)


def test_schedules_of_guidance_rise_from_none_to_the_whole_scale():
    scales = {
        name: [SequenceGuidance(3.0, cfg_schedule=name).scale_at(number, 5) for number in range(5)]
        for name in SCHEDULES
    }
    assert scales['constant'] == [3.0] * 5
    assert scales['linear'] == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert scales['cosine'] == pytest.approx([1.0, 2 - 2**-0.5, 2.0, 2 + 2**-0.5, 3.0])
    assert SequenceGuidance(3.0, cfg_schedule='linear').scale_at(0, 1) == 1.0
    late = SequenceGuidance(3.0, cfg_schedule='cosine', cfg_power=3.0)  # TiTok's power-cosine
    assert late.scale_at(2, 5) == pytest.approx(1.0 + (1.0 - math.cos(math.pi * 0.5**3)))
    with pytest.raises(UserError, match="got 'liner'; did you mean 'linear'"):
        SequenceGuidance(2.0, cfg_schedule='liner')
