"""Warm-up, hold, decay: the closed form, and the scheduler that applies it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.optim import OptimWrapper

from fvq_core.errors import UserError
from fvq_core.schedules import StepDecayLR
from fvq_core.schedules.warmup_hold_decay import WarmupHoldDecayLR, lr_multiplier


def make_wrapper(*rates: float) -> OptimWrapper:
    groups = [{'params': [torch.nn.Parameter(torch.zeros(1))], 'lr': rate} for rate in rates]
    return OptimWrapper(torch.optim.SGD(groups, lr=rates[0]))


def walk(wrapper: OptimWrapper, scheduler: WarmupHoldDecayLR, steps: int) -> list[list[float]]:
    """The learning rates that each of `steps` optimizer steps was taken with."""
    rates = []
    for _ in range(steps):
        rates.append([group['lr'] for group in wrapper.optimizer.param_groups])
        wrapper.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ('step', 'expected'),
    [(0, 0.005), (5, 0.005 + 0.995 * 0.5), (9, 0.005 + 0.995 * 0.9), (10, 1.0), (36, 1.0), (100, 0.01)],
)
def test_paper_schedule_of_101_steps_at_its_corners(step: int, expected: float):
    # W = 10 warm-up steps, then 90 more: 27 of them (30 %) held, 63 falling.
    assert lr_multiplier(step, 101, warmup=10) == pytest.approx(expected, rel=1e-12)


def test_linear_decay_is_halfway_at_the_middle_of_what_falls():
    assert lr_multiplier(70, 101, warmup=0, hold=0.4) == pytest.approx(0.01 + 0.99 * 0.5, rel=1e-12)


def test_cosine_decay_follows_half_a_cosine():
    for step in range(40, 101):
        u = (step - 40) / 60
        expected = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * u))
        assert lr_multiplier(step, 101, warmup=0, hold=0.4, decay='cosine') == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, max_examples=25)
@given(
    total=st.integers(20, 500),
    warmup=st.floats(0, 0.5),
    hold=st.floats(0, 0.9),
    end=st.floats(0.001, 0.9),
    decay=st.sampled_from(['linear', 'cosine']),
)
def test_rate_rises_to_one_then_never_rises_again_and_ends_at_end_factor(
    total: int, warmup: float, hold: float, end: float, decay: str
):
    values = [lr_multiplier(s, total, warmup=warmup, hold=hold, end_factor=end, decay=decay) for s in range(total)]
    top = round(warmup * total)
    assert values[top] == 1.0
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert values[-1] == pytest.approx(end, rel=1e-12)


def test_no_decay_keeps_the_warm_up_and_then_stays_at_one():
    values = [lr_multiplier(step, 100, warmup=0.1, decay='none') for step in range(100)]
    assert values[:10] == [lr_multiplier(step, 100, warmup=0.1) for step in range(10)]
    assert values[0] == 0.005
    assert values[10:] == [1.0] * 90


def test_warm_up_and_hold_are_fractions_below_one_and_counts_from_one_on():
    for step in range(200):
        assert lr_multiplier(step, 200, warmup=0.15) == lr_multiplier(step, 200, warmup=30)
    rest = 200 - 1 - 30
    for step in range(200):
        by_count = lr_multiplier(step, 200, warmup=30, hold=60)
        assert by_count == pytest.approx(lr_multiplier(step, 200, warmup=30, hold=60 / rest), rel=1e-12)


@pytest.mark.parametrize('decay', ['linear', 'cosine', 'none'])
def test_optimizer_gets_base_rate_times_multiplier_at_every_step_in_every_group(decay: str):
    wrapper = make_wrapper(1e-3, 4e-2)
    scheduler = WarmupHoldDecayLR(wrapper, total_iters=30, decay=decay)
    for step, rates in enumerate(walk(wrapper, scheduler, 30)):
        factor = lr_multiplier(step, 30, decay=decay)
        assert rates == pytest.approx([1e-3 * factor, 4e-2 * factor], rel=1e-12)


def test_state_holds_where_the_schedule_stands_but_neither_its_length_nor_its_shape():
    wrapper = make_wrapper(1.0)
    scheduler = WarmupHoldDecayLR(wrapper, total_iters=40)
    walk(wrapper, scheduler, 25)
    state = scheduler.state_dict()
    assert set(state) == {'last_step', '_global_step', '_last_value'}

    longer = make_wrapper(1.0)
    resumed = WarmupHoldDecayLR(longer, total_iters=80)
    resumed.load_state_dict(state)
    longer.optimizer.load_state_dict(wrapper.optimizer.state_dict())
    rates = [rate for (rate,) in walk(longer, resumed, 55)]
    assert rates[1:] == pytest.approx([lr_multiplier(step, 80) for step in range(26, 80)], rel=1e-12)


def test_unknown_decay_and_negative_fractions_are_refused():
    with pytest.raises(UserError, match="unknown decay 'cosin'; did you mean 'cosine'"):
        WarmupHoldDecayLR(make_wrapper(1.0), total_iters=10, decay='cosin')
    for wrong in (dict(warmup=-0.1), dict(hold=-1)):
        with pytest.raises(UserError, match='0 or more'):
            WarmupHoldDecayLR(make_wrapper(1.0), total_iters=10, **wrong)


def test_step_decay_falls_at_each_milestone_and_stays():
    wrapper = make_wrapper(1.0, 0.5)
    rates = walk(wrapper, StepDecayLR(wrapper, 10, milestones=(0.5, 0.8), gamma=0.1), 10)
    assert [pair[0] for pair in rates] == pytest.approx([1.0] * 5 + [0.1] * 3 + [0.01] * 2)
    assert [pair[1] for pair in rates] == pytest.approx([0.5] * 5 + [0.05] * 3 + [0.005] * 2)


@pytest.mark.parametrize('milestones', [(0.0,), (0.5, 1.0), (250,)])
def test_step_decay_refuses_milestones_that_are_no_parts_of_the_run(milestones: tuple[float, ...]):
    with pytest.raises(UserError, match=r'parts of the run between 0 and 1, got .*divide epochs'):
        StepDecayLR(make_wrapper(1.0), 10, milestones=milestones)
