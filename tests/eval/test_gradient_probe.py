"""Straight-through bias and one-step-behind shift: closed forms, and a hook that measures without a trace."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.ops.seeding import seed_iteration
from fvq_core.registry import MODELS
from fvq_core.training.hooks.history import History
from fvq_core.training.optim_wrapper import build_optim_wrappers
from fvq_eval.analysis.center_shift import Step, assignment_margin, chooses_nearest, largest_shift, shift_means
from fvq_eval.analysis.straight_through_bias import estimation_error, gradient_bias
from fvq_eval.hooks import GradientProbeHook
from tests.tiny import FVQ, HALF, tokenizer_config

VQ = dict(type='VectorQuantizer', codebook_size=16, code_dim=8, init=dict(type='NormalInit', std=0.3))


def test_gradient_bias_of_a_linear_decoder_is_its_gram_matrix_times_delta() -> None:
    W, y = torch.randn(5, 3), torch.randn(2, 5)
    z, z_q = torch.randn(2, 3, 1, 1), torch.randn(2, 3, 1, 1)

    def loss(latent: Tensor) -> Tensor:
        return 0.5 * (latent.flatten(1) @ W.t() - y).square().sum()

    delta = (z_q - z).flatten(1)
    true = (z.flatten(1) @ W.t() - y) @ W
    handed = true + delta @ W.t() @ W
    found = gradient_bias(loss, z, z_q)
    assert found['gradient_bias'].item() == pytest.approx(((delta @ W.t() @ W).norm() / true.norm()).item(), rel=1e-5)
    cosine = (true * handed).sum() / true.norm() / handed.norm()
    assert found['gradient_cosine'].item() == pytest.approx(cosine.item(), rel=1e-5)


def test_a_code_at_the_latent_has_no_bias() -> None:
    z = torch.randn(1, 4, 2, 2)
    found = gradient_bias(lambda latent: latent.pow(3).sum(), z, z)
    assert found['gradient_bias'] == 0
    assert found['gradient_cosine'].item() == pytest.approx(1.0)


def test_estimation_error_is_a_mean_over_vectors_and_relative_to_their_variance() -> None:
    z = torch.tensor([[0.0, 0.0], [4.0, 0.0]]).view(2, 2, 1, 1)
    found = estimation_error(z, z + torch.tensor([1.0, 2.0]).view(1, 2, 1, 1))
    assert found['estimation_error'] == 5.0
    assert found['relative_estimation_error'] == 5.0 / 4.0
    assert found['latent_std'] == 2.0


def test_shift_of_one_latent_by_hand() -> None:
    step = Step(
        *(torch.tensor([point]) for point in ([0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [6.0, 4.0], [6.0, 1.0], [0.0, 3.0]))
    )
    assert {name: value.item() for name, value in shift_means(step).items()} == pytest.approx(
        {
            'center_shift': 6.0,
            'codebook_update': 3.0,
            'cluster_switching': 45**0.5,
            'latent_shift': 3.0,
            'one_step_behind': 3.0 / 4.0,
            'lag': 18.0 / 9.0,
        }
    )


def test_one_step_behind_is_the_part_of_equation_7_that_equation_6_leaves_out() -> None:
    z_old, z_new, z_q, eta = torch.randn(5, 3), torch.randn(5, 3), torch.randn(5, 3), 0.1
    done, ideal = ((1 - eta) * z_q + eta * z for z in (z_old, z_new))
    left_out = (ideal - done).norm(dim=1).mean() / (done - z_q).norm(dim=1).mean()
    found = shift_means(Step(z_old, z_new, z_q, z_q, z_q, z_q))['one_step_behind']
    torch.testing.assert_close(found, left_out)


def test_the_two_parts_of_the_shift_bound_it() -> None:
    found = shift_means(Step(*torch.randn(6, 50, 4)))
    assert found['center_shift'] <= found['codebook_update'] + found['cluster_switching']


def test_margin_is_the_second_distance_less_the_first() -> None:
    codebook = torch.tensor([[0.0], [10.0], [4.0]])
    margin = assignment_margin(torch.tensor([[1.0], [2.0], [9.0]]), codebook)
    torch.testing.assert_close(margin, torch.tensor([3.0 - 1.0, 0.0, 5.0 - 1.0]))


def test_latents_with_a_margin_above_twice_the_move_keep_their_code() -> None:
    codebook, z = torch.randn(20, 3), torch.randn(500, 3)
    moved = z + 0.1 * torch.nn.functional.normalize(torch.randn(500, 3), dim=1)
    safe = assignment_margin(z, codebook) > 2.0 * largest_shift(z, moved)
    before, after = (torch.cdist(points, codebook).argmin(1) for points in (z, moved))
    assert 0 < safe.sum() < len(z)
    assert torch.equal(before[safe], after[safe])
    assert not torch.equal(before, after)


def test_codes_that_are_not_the_nearest_are_noticed() -> None:
    z, codebook = torch.randn(6, 3).double(), torch.randn(9, 3)
    order = torch.cdist(z.float(), codebook).argsort(1)
    nearest, second = (codebook[order[:, rank]].double() for rank in (0, 1))
    assert chooses_nearest(Step(z, z, nearest, nearest, nearest, nearest), codebook)
    assert not chooses_nearest(Step(z, z, second, second, second, second), codebook)


def train(
    work_dir: Path, hook: GradientProbeHook | None, quantizer: dict[str, Any] = VQ, lr: float = 0.1, steps: int = 3
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The weights after a few steps of a tokenizer with dropout, and the rows that the hook wrote."""
    config = tokenizer_config(quantizer)
    for part in ('encoder', 'decoder'):
        config[part] = {**config[part], **HALF, 'dropout': 0.2}
    torch.manual_seed(0)
    model = dict(type='TokenizerTask', tokenizer=config, reconstruction_loss=dict(type='L2Loss'))
    task = MODELS.build(model).place(torch.device('cpu')).train()
    optimizer = dict(type='ClippedOptimWrapper', optimizer=dict(type='SGD', lr=lr), max_norm=None)
    wrappers = build_optim_wrappers(optimizer, task.parts())
    scalars: list[Any] = []
    runner = SimpleNamespace(task=task, iter=0, max_iters=steps, work_dir=work_dir)
    runner.visualizer = SimpleNamespace(add_scalars=lambda values, step: scalars.append((step, values)))
    work_dir.mkdir(exist_ok=True)
    if hook is not None:
        hook.before_run(runner)
    rng = torch.Generator().manual_seed(1)
    for runner.iter in range(steps):
        data = [{'images': torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=rng)}]
        seed_iteration(0, 0, runner.iter)
        if hook is not None:
            hook.before_train_iter(runner, runner.iter, data)
        task.train_step(data, wrappers, runner.iter)
        if hook is not None:
            hook.after_train_iter(runner, runner.iter, data)
            assert task.training
            assert task.tokenizer.quantizer.training
    rows = History(work_dir / 'history.jsonl').rows()
    assert [step for step, _ in scalars] == [row['iter'] for row in rows]
    return task.state_dict(), rows


@pytest.mark.parametrize('quantizer', [VQ, FVQ], ids=['vq', 'fvq'])
def test_training_goes_on_bit_for_bit_as_without_the_probe(quantizer: dict[str, Any], tmp_path: Path) -> None:
    plain, none = train(tmp_path / 'plain', None, quantizer)
    probed, rows = train(tmp_path / 'probed', GradientProbeHook(interval=1), quantizer)
    assert not none
    assert len(rows) == 3
    torch.testing.assert_close(probed, plain, rtol=0, atol=0)


def test_hooks_on_the_quantizer_see_only_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    build, seen = MODELS.build, []

    def watched(config: dict[str, Any]) -> Any:
        task, endless = build(config), (number for number in range(100))  # a generator cannot be copied
        task.tokenizer.quantizer.register_forward_hook(lambda *_: seen.append((task.training, next(endless))))
        return task

    monkeypatch.setattr(MODELS, 'build', watched)
    rows = train(tmp_path, GradientProbeHook(interval=1))[1]
    assert len(rows) == 3
    assert [training for training, _ in seen] == [True, True, True]


def test_the_first_the_last_and_every_interval_are_probed(tmp_path: Path) -> None:
    rows = train(tmp_path, GradientProbeHook(interval=3), steps=8)[1]
    assert [row['iter'] for row in rows] == [1, 3, 6, 8]
    assert {row['split'] for row in rows} == {'probe'}


def test_a_row_is_consistent_with_the_paper_s_inequalities(tmp_path: Path) -> None:
    for row in train(tmp_path, GradientProbeHook(interval=1))[1]:
        assert 0 < row['center_shift'] <= row['codebook_update'] + row['cluster_switching']
        assert row['codebook_update'] <= row['codebook_shift_max'] + 1e-9
        assert 0 < row['latent_shift'] <= row['latent_shift_max']
        assert row['gradient_bias'] > 0
        assert -1 <= row['gradient_cosine'] <= 1
        assert 0 <= row['may_switch'] <= 100


def test_a_step_of_length_zero_moves_nothing(tmp_path: Path) -> None:
    for row in train(tmp_path, GradientProbeHook(interval=1), lr=0.0)[1]:
        moves = ('center_shift', 'codebook_update', 'cluster_switching', 'latent_shift', 'one_step_behind', 'switched')
        assert all(row[name] == 0 for name in moves)
        assert row['lag'] == 1
        assert row['estimation_error'] > 0


def test_the_probe_measures_the_codes_that_the_step_was_computed_from(tmp_path: Path) -> None:
    first = train(tmp_path / 'one', GradientProbeHook(interval=1), steps=1)[1][0]
    longer = train(tmp_path / 'more', GradientProbeHook(interval=2), steps=4)[1][0]
    assert first == longer


def test_several_codes_a_position_have_shifts_and_no_margin(tmp_path: Path) -> None:
    residual = dict(type='ResidualQuantizer', quantizer=VQ, depth=2, shared=True)
    (row, *_) = train(tmp_path, GradientProbeHook(interval=1), residual)[1]
    assert row['center_shift'] > 0
    assert 'margin' not in row
    assert 'may_switch' not in row


def test_other_tasks_and_intervals_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='interval and images must be 1 or more'):
        GradientProbeHook(interval=0)
    other = SimpleNamespace(autoencoder=lambda: None)
    with pytest.raises(UserError, match='trains no tokenizer'):
        GradientProbeHook().before_run(SimpleNamespace(task=other, work_dir=tmp_path))
