"""Figure 2's toy: what moves is what moves in the paper, and the numbers are those of the trajectories."""

from __future__ import annotations

import pytest
import torch

from fvq_core.errors import UserError
from fvq_eval.analysis.toy import METHODS, Toy, Trajectory, run_toy

SHORT = Toy(codes=8, latents=24, steps=30)


@pytest.fixture(scope='module')
def runs() -> dict[str, Trajectory]:
    return {name: run_toy(SHORT, METHODS[name], seed=3) for name in ('vq', 'linear', 'vqbridge')}


def test_a_seed_gives_the_same_run_and_leaves_the_random_state(runs: dict[str, Trajectory]) -> None:
    state = torch.get_rng_state()
    again, other = (run_toy(SHORT, METHODS['vqbridge'], seed=seed) for seed in (3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(again.codebook_TK2, runs['vqbridge'].codebook_TK2)
    assert torch.equal(again.z_TN2, runs['vqbridge'].z_TN2)
    assert not torch.equal(other.z_TN2, again.z_TN2)


def test_every_method_meets_the_same_latents_and_targets(runs: dict[str, Trajectory]) -> None:
    for run in runs.values():
        assert torch.equal(run.z_TN2[0], runs['vq'].z_TN2[0])
        assert torch.equal(run.target_N2, runs['vq'].target_N2)


def test_targets_are_the_points_turned_by_sixty_degrees_and_moved() -> None:
    x, y = Toy(latents=3, spread=0.0).points(0)
    torch.testing.assert_close(x[0], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(y[0], torch.tensor([3.5, 1.0 + 3**0.5 / 2]))


def test_without_a_projector_only_codes_that_were_chosen_move(runs: dict[str, Trajectory]) -> None:
    run = runs['vq']
    chosen = torch.stack([run.used(t) for t in range(SHORT.steps)]).any(0)
    assert 0 < chosen.sum() < SHORT.codes
    assert torch.equal(run.moved(SHORT.steps, least=0.0), chosen)


@pytest.mark.parametrize('name', ['linear', 'vqbridge'])
def test_behind_a_projector_every_code_moves(runs: dict[str, Trajectory], name: str) -> None:
    assert runs[name].moved(SHORT.steps).all()
    assert not runs[name].used(SHORT.steps).all()


def test_one_code_takes_exactly_the_step_of_equation_6() -> None:
    toy = Toy(codes=1, latents=24, steps=5, lr=0.3)
    run = run_toy(toy, METHODS['vq'])
    for t in range(toy.steps):
        ahead = (1 - toy.lr) * run.codebook_TK2[t, 0] + toy.lr * run.z_TN2[t].mean(0)
        torch.testing.assert_close(run.codebook_TK2[t + 1, 0], ahead)


def test_rows_hold_the_numbers_of_the_trajectory(runs: dict[str, Trajectory]) -> None:
    run = runs['linear']
    rows = run.rows()
    t = 7
    z, z_q = run.z_TN2[t], run.codebook_TK2[t, run.indices_TN[t]]
    nearest = torch.cdist(z, run.codebook_TK2[t]).min(1).values.square().mean().item()
    assert len(rows) == SHORT.steps + 1
    assert rows[t]['step'] == t
    assert rows[t]['usage'] == 100.0 * len(run.indices_TN[t].unique()) / SHORT.codes
    assert rows[t]['estimation_error'] == pytest.approx(nearest, rel=1e-5)
    assert rows[t]['relative_estimation_error'] == pytest.approx(
        nearest / z.var(0, correction=0).sum().item(), rel=1e-5
    )
    assert rows[t]['task_loss'] == pytest.approx(0.5 * (z_q - run.target_N2).square().sum(1).mean().item(), rel=1e-6)
    before = run.codebook_TK2[t - 1, run.indices_TN[t - 1]]
    assert rows[t]['center_shift'] == pytest.approx((z_q - before).norm(dim=1).mean().item(), rel=1e-5)
    assert 'center_shift' not in rows[0]


def test_detour_compares_the_way_with_the_straight_line() -> None:
    way = torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]])
    run = Trajectory(way[:, None], torch.zeros(3, 1, 2), torch.zeros(3, 1, dtype=torch.int64), way[-1:])
    assert run.detour() == pytest.approx(7 / 5)


def test_the_bridge_follows_closer_and_straighter_than_plain_vq() -> None:
    toy = Toy(steps=80)
    vq, bridge = (run_toy(toy, METHODS[name]) for name in ('vq', 'vqbridge'))

    def error(run: Trajectory, t: int) -> float:
        return (run.z_q(t) - run.z_TN2[t]).square().sum(1).mean().item()

    assert error(vq, 40) > 2.0 * error(vq, 0)  # the latents run away from the codes
    assert error(bridge, 40) < 0.5 * error(bridge, 0)
    assert vq.detour() > 1.1
    assert bridge.detour() < 1.02


def test_the_narrow_start_of_the_release_gives_the_bridge_more_codes_and_a_smaller_error() -> None:
    toy = Toy(steps=80)
    wide, narrow = (run_toy(toy, METHODS[name]).rows()[-1] for name in ('vqbridge', 'vqbridge_uniform'))
    assert narrow['usage'] > 1.5 * wide['usage']
    assert narrow['estimation_error'] < 0.9 * wide['estimation_error']


def test_a_run_that_diverges_is_reported() -> None:
    with pytest.raises(UserError, match='diverged at lr 50; choose a lower one'):
        run_toy(Toy(codes=4, latents=8, steps=60, lr=50.0), METHODS['vq'])


def test_an_impossible_setting_is_refused() -> None:
    with pytest.raises(UserError, match='latents from 2'):
        Toy(latents=1)
