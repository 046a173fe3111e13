"""Folding in mid-training: the same codes at that moment, a plain codebook from then on, resumed exactly on either side."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from torch import nn

from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.ops.identical import identical
from fvq_core.training.checkpoint import read_checkpoint
from fvq_core.training.load_task import load_task
from fvq_core.training.runner import Runner
from fvq_quantizers.fold_hook import FoldHook, exchange_parameters, fold_for_training
from tests.tiny import FVQ, random_images, tiny_tokenizer

FVQ_ROW = str(Path(__file__).parents[2] / 'configs/mini/fvq.py')
STEPS = 8
TINY = {
    'train_dataloader.batch_size': 2,
    'val_dataloader.dataset.crops': 2,
    'train_cfg.max_iters': STEPS,
    'default_hooks.checkpoint.interval': 2,
    'default_hooks.checkpoint.max_keep': 0,
    'default_hooks.report': None,
    'model.tokenizer.quantizer.codebook_size': 16,
}


def tiny_run(work_dir: Path, at: float = 0.5, **more: Any) -> Config:
    cfg = load_config(FVQ_ROW, TINY, work_dir=str(work_dir))
    cfg.default_hooks.fold = dict(type='FoldHook', at=at)
    cfg.merge_from_dict(more)
    return cfg


@pytest.fixture(scope='module')
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that folds after iteration 4 of 8."""
    folder = tmp_path_factory.mktemp('straight')
    Runner.from_cfg(tiny_run(folder)).train()
    return folder


def state_of(folder: Path, iteration: int) -> dict[str, Any]:
    return read_checkpoint(folder / f'iter_{iteration}.pth')


def is_plain(checkpoint: dict[str, Any]) -> bool:
    return not any('projector' in key for key in checkpoint['state_dict'])


def test_the_fold_comes_at_its_share_and_checkpoints_say_what_they_hold(straight: Path) -> None:
    for iteration in (2, 4, 6, 8):
        checkpoint = state_of(straight, iteration)
        assert checkpoint['folded'] == is_plain(checkpoint) == (iteration >= 4)


def test_the_mapped_codebook_is_trained_from_then_on_with_a_fresh_state(straight: Path) -> None:
    key = 'tokenizer.quantizer.embedding'
    at_fold, later = state_of(straight, 4), state_of(straight, 6)
    assert not torch.equal(at_fold['state_dict'][key], later['state_dict'][key])
    encoder = state_of(straight, 4)['optimizer']['tokenizer']['state']
    steps = [int(state['step']) for state in later['optimizer']['tokenizer']['state'].values()]
    assert sorted(set(steps)) == [2, 6]  # the codebook's, and everybody else's
    assert steps.count(2) == 1
    assert len(encoder) == len(steps) - 1  # right after the fold the codebook has no state yet


@pytest.mark.parametrize('resumed_from', [2, 4, 6])
def test_resuming_before_at_and_after_the_fold_is_exact(straight: Path, resumed_from: int, tmp_path: Path) -> None:
    shutil.copy(straight / f'iter_{resumed_from}.pth', tmp_path)
    cfg = tiny_run(tmp_path)
    cfg.resume = True
    Runner.from_cfg(cfg).train()
    expected, got = state_of(straight, STEPS), state_of(tmp_path, STEPS)
    for part in ('state_dict', 'optimizer', 'param_schedulers', 'folded'):
        assert identical(expected[part], got[part]), part


def test_a_checkpoint_of_either_side_can_be_evaluated_and_exported(straight: Path) -> None:
    for iteration in (2, 6):
        task = load_task(state_of(straight, iteration), f'iter_{iteration}.pth').eval()
        folded = task.tokenizer.fold()
        images = random_images(1, 64, 64)
        assert torch.equal(folded.encode(images).indices_BL, task.tokenizer.encode(images).indices_BL)


def test_parameter_groups_with_rates_of_their_own_are_kept_in_number(tmp_path: Path) -> None:
    rates = {
        'optim_wrapper.paramwise_cfg': dict(custom_keys={'quantizer.': dict(lr_mult=10.0)}),
        'train_cfg.max_iters': 3,
    }
    runner = Runner.from_cfg(tiny_run(tmp_path, at=0.3, **rates))
    runner.train()
    wrapper = runner.optim_wrapper['tokenizer']
    groups = wrapper.optimizer.param_groups
    (own,) = [group for group in groups if any(p is runner.task.tokenizer.quantizer.embedding for p in group['params'])]
    assert own['initial_lr'] == pytest.approx(10 * groups[0]['initial_lr'])
    trained = {id(p) for group in groups for p in group['params']}
    assert trained == {id(p) for p in runner.task.tokenizer.parameters()}


@torch.no_grad()
def test_folding_changes_no_code_and_trains_what_was_frozen() -> None:
    frozen = {**FVQ, 'update': dict(type='Frozen')}
    tokenizer, images = tiny_tokenizer(dict(type='ResidualQuantizer', quantizer=frozen, depth=2)), random_images()
    before = tokenizer(images)
    fold_for_training(tokenizer.train())
    assert tokenizer.quantizer.training
    assert tokenizer.quantizer.quantizer.embedding.requires_grad
    after = tokenizer.eval()(images)
    assert torch.equal(after.codes.indices_BL, before.codes.indices_BL)
    assert torch.equal(after.reconstruction, before.reconstruction)


def test_an_unchanged_parameter_keeps_its_state_and_a_lost_one_leaves() -> None:
    old = nn.ModuleDict(
        {'same': nn.Linear(2, 2, bias=False), 'moved': nn.Linear(2, 2, bias=False), 'gone': nn.Linear(1, 1)}
    )
    new = nn.ModuleDict({'same': nn.Linear(2, 2, bias=False), 'moved': nn.Linear(2, 2, bias=False)})
    new['same'].load_state_dict(old['same'].state_dict())
    other = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.Adam([*old.parameters(), other])
    (sum(p.sum() for p in old.parameters()) + other.sum()).backward()
    grads = {name: p.grad for name, p in old.named_parameters()}
    assert set(grads) == {'same.weight', 'moved.weight', 'gone.weight', 'gone.bias'}
    for name, p in old.named_parameters():
        optimizer.state[p] = {'name': name}
    exchange_parameters(optimizer, old, new)
    assert [id(p) for p in optimizer.param_groups[0]['params']] == [
        id(new['same'].weight),
        id(new['moved'].weight),
        id(other),
    ]
    assert optimizer.state == {new['same'].weight: {'name': 'same.weight'}}


def test_what_cannot_be_folded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'at must lie in \(0, 1\], got 0'):
        FoldHook(at=0)
    with pytest.raises(UserError, match='VectorQuantizer has no projector to fold'):
        fold_for_training(tiny_tokenizer(dict(type='VectorQuantizer', codebook_size=16, code_dim=8)))
    cfg = tiny_run(tmp_path)
    cfg.default_hooks.ema = dict(type='EMAHook')
    with pytest.raises(UserError, match='moving average cannot follow'):
        Runner.from_cfg(cfg).train()
