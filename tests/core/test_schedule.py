"""Warm-up, hold, decay: the closed form, and the scheduler that applies it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.optim import OptimWrapper

from fvq_core.errors import UserError
from fvq_core.training.resume import resume_optimizer, resume_schedulers
from fvq_core.training.schedules import StepDecayLR
from fvq_core.training.schedules.build_schedulers import build_schedulers, scheduler_state
from fvq_core.training.schedules.warmup_hold_decay import WarmupHoldDecayLR, lr_multiplier

DECAY = dict(type='CosineAnnealingParamScheduler', param_name='weight_decay', eta_min_ratio=1.6, by_epoch=False)


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


def test_state_holds_the_position_in_the_schedule_but_neither_its_length_nor_its_shape():
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
def test_step_decay_refuses_milestones_that_are_not_fractions_of_the_run(milestones: tuple[float, ...]):
    with pytest.raises(UserError, match=r'parts of the run between 0 and 1, got .*divide epochs'):
        StepDecayLR(make_wrapper(1.0), 10, milestones=milestones)


def rates_of(config: object, steps: int, iters_per_epoch: int = 1000, parts: int = 1) -> list[list[float]]:
    """The learning rates of each part, which may skip steps, over a run of `steps`."""
    wrappers = {f'part{number}': make_wrapper(1.0) for number in range(parts)}
    schedulers = build_schedulers(config, wrappers, steps, iters_per_epoch)
    rates: list[list[float]] = [[] for _ in wrappers]
    for step in range(steps):
        for number, (name, wrapper) in enumerate(wrappers.items()):
            rates[number].append(wrapper.optimizer.param_groups[0]['lr'])
            if number == 0 or step > 2:  # a discriminator starts later
                wrapper.step()
            for scheduler in schedulers[name]:
                scheduler.step()
    return rates


def test_weight_decay_may_follow_a_cosine_and_what_does_not_decay_stays_so():
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.AdamW([dict(params=parameters[:1]), dict(params=parameters[1:], weight_decay=0.0)])
    optimizer.param_groups[0]['weight_decay'] = 0.05
    wrapper = OptimWrapper(optimizer)
    schedulers = build_schedulers([dict(type='WarmupHoldDecayLR'), DECAY], dict(part=wrapper), 8, 1)['part']
    decays = []
    for _ in range(8):
        decays.append([group['weight_decay'] for group in optimizer.param_groups])
        wrapper.step()
        for scheduler in schedulers:
            scheduler.step()
    assert [rest for _, rest in decays] == [0.0] * 8
    expected = [0.08 - 0.03 * 0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]
    assert [decay for decay, _ in decays] == pytest.approx(expected)


def test_stock_schedulers_follow_their_closed_forms_to_the_end_of_the_run():
    (cosine,) = rates_of(dict(type='CosineAnnealingLR', by_epoch=False), 8)
    assert cosine == pytest.approx([0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)])
    (steps,) = rates_of(dict(type='MultiStepLR', milestones=[3, 5], gamma=0.1, by_epoch=False), 8)
    assert steps == pytest.approx([1.0] * 3 + [0.1] * 2 + [0.01] * 3)
    (one_cycle,) = rates_of(dict(type='OneCycleLR', eta_max=1.0, pct_start=0.5, by_epoch=False), 8)
    assert one_cycle[3] == pytest.approx(1.0)
    assert one_cycle[0] == pytest.approx(1 / 25)
    assert one_cycle[-1] == pytest.approx(1 / 25 / 1e4)


def test_a_warm_up_and_a_cosine_follow_each_other_on_every_optimizer():
    warm_up = dict(type='LinearLR', start_factor=0.2, by_epoch=False, end=5)
    config = [warm_up, dict(type='CosineAnnealingLR', by_epoch=False, begin=5)]
    expected = [0.2 + 0.8 * step / 4 for step in range(5)]
    expected += [0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
    for rates in rates_of(config, 11, parts=2):
        assert rates == pytest.approx(expected)


def test_schedulers_may_be_given_by_part():
    by_part = dict(
        part0=dict(type='StepLR', step_size=2, gamma=0.5, by_epoch=False), part1=dict(type='WarmupHoldDecayLR')
    )
    first, second = rates_of(by_part, 6, parts=2)
    assert first == pytest.approx([1.0, 1.0, 0.5, 0.5, 0.25, 0.25])
    assert second == pytest.approx([lr_multiplier(step, 6) for step in range(6)])
    with pytest.raises(UserError, match="nothing for the part 'part1'; did you mean 'part0'"):
        rates_of(dict(part0=by_part['part0']), 6, parts=2)


def test_epochs_are_converted_when_a_config_asks_for_it():
    config = dict(type='MultiStepLR', milestones=[1, 2], gamma=0.1, convert_to_iter_based=True)
    (rates,) = rates_of(config, 8, iters_per_epoch=3)
    assert rates == pytest.approx([1.0] * 3 + [0.1] * 3 + [0.01] * 2)
    (cosine,) = rates_of(dict(type='CosineAnnealingLR', convert_to_iter_based=True), 8, iters_per_epoch=3)
    assert cosine == pytest.approx([0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)])


@pytest.mark.parametrize(
    ('config', 'said'),
    [
        (
            dict(type='MultiStepLR', milestones=[1]),
            'MultiStepLR counts epochs .* by_epoch=False .* convert_to_iter_based',
        ),
        (dict(type='ReduceOnPlateauLR'), 'waits for a metric'),
        (dict(type='StepLR', step_size=2, gama=0.1, by_epoch=False), "no argument 'gama'.* did you mean 'gamma'"),
        (dict(type='MultiStepLR', milestones=3, by_epoch=False), 'milestones: expected a list of whole numbers, got 3'),
        (dict(type='MultiStepLR', milestones=[1.5], by_epoch=False), r'list of whole numbers, got \[1.5\]'),
        (dict(type='MultiStepLR', milestones=['1'], convert_to_iter_based=True), r"a list of numbers, got \['1'\]"),
        (dict(type='StepLR', step_size=1.5, by_epoch=False), 'step_size: expected a whole number, got 1.5'),
        (dict(type='CosineRestartLR', periods=[5], restart_weights=[1], by_epoch=False), r'assert \(eta_min is None'),
        (dict(type='WarmupHoldDecayLR', hold=math.nan), 'warmup and hold must be 0 or more, got 0.1 and nan'),
        (dict(type='WarmupHoldDecayLR', warmup=math.inf), 'warmup and hold must be 0 or more, got inf and 0.3'),
        (dict(type='LinearLR', begin=9, by_epoch=False), 'end should be larger than begin'),
        (dict(type='torch.optim.lr_scheduler.StepLR', step_size=2), "not a scheduler of mmengine's kind"),
        (
            [dict(type='WarmupHoldDecayLR'), dict(type='StepLR', step_size=2, by_epoch=False)],
            'takes no other beside it',
        ),
        (dict(type='StepLRR'), 'did you mean'),
        ([dict(step_size=2)], "needs a 'type'"),
    ],
)
def test_schedulers_that_cannot_work_are_refused(config: object, said: str):
    with pytest.raises(UserError, match=said):
        rates_of(config, 5)


@pytest.mark.parametrize(
    'config',
    [
        dict(type='MultiStepLR', milestones=[3, 5], by_epoch=False),
        dict(type='CosineAnnealingLR', by_epoch=False),
        dict(type='OneCycleLR', eta_max=0.1, by_epoch=False),
        dict(type='CosineRestartLR', periods=[3, 5], restart_weights=[1, 0.5], eta_min=1e-3, by_epoch=False),
        dict(type='PolyLR', by_epoch=False),
        dict(type='ExponentialLR', gamma=0.9, by_epoch=False),
        dict(type='ConstantLR', by_epoch=False),
        [dict(type='LinearMomentum', start_factor=0.5, by_epoch=False), dict(type='WarmupHoldDecayLR')],
        [dict(type='WarmupHoldDecayLR'), DECAY],
    ],
)
def test_what_a_checkpoint_keeps_of_any_scheduler_continues_it_exactly(config: object, tmp_path: Path):
    def make() -> tuple[OptimWrapper, list[Any]]:
        wrapper = OptimWrapper(torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.3, betas=(0.9, 0.95)))
        return wrapper, build_schedulers(config, dict(part=wrapper), 8, 1)['part']

    def walk(wrapper: OptimWrapper, schedulers: list[Any], steps: int) -> list[dict[str, Any]]:
        seen = []
        for _ in range(steps):
            seen.append({key: value for key, value in wrapper.optimizer.param_groups[0].items() if key != 'params'})
            wrapper.step()
            for scheduler in schedulers:
                scheduler.step()
        return seen

    expected = walk(*make(), 8)
    wrapper, schedulers = make()
    walk(wrapper, schedulers, 4)
    kept = dict(optimizer=wrapper.state_dict(), schedulers=dict(part=[scheduler_state(each) for each in schedulers]))
    torch.save(kept, tmp_path / 'kept.pth')
    kept = torch.load(tmp_path / 'kept.pth', weights_only=True)
    wrapper, schedulers = make()
    resume_optimizer(wrapper, kept['optimizer'], 'kept.pth')
    resume_schedulers(dict(part=schedulers), kept['schedulers'], 'kept.pth')
    assert walk(wrapper, schedulers, 4) == expected[4:]
