"""What `--resume` reports of a config that has changed, and what it does with it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper

from fvq_core.config.data import config_data
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.training.checkpoint import write_checkpoint
from fvq_core.training.resume import check_resumable, keep_global_batch, resume_optimizer, resume_schedulers

REPO = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def config() -> dict[str, Any]:
    return config_data(load_config(str(REPO / 'configs/fvq/fvq_photos_gan.py')).to_dict())


def change(config: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """A config with other values; `__` stands for a dot of the path."""
    changed = copy.deepcopy(dict(config))
    for path, value in values.items():
        *parents, last = path.split('__')
        node = changed
        for parent in parents:
            node = node[parent]
        node[last] = value
    return changed


def said(config: Mapping[str, Any], saved: Any, elastic: bool = False, **meta: Any) -> str | None:
    checkpoint = dict(meta=dict(iter=3, seed=0, world_size=1, config=saved) | meta, optimizer={}, param_schedulers={})
    return check_resumable('iter_3.pth', checkpoint, config, 0, elastic)


def test_what_does_not_change_the_ending_passes_in_silence(config: dict[str, Any]) -> None:
    assert said(config, config) is None
    other = change(
        config,
        work_dir='elsewhere',
        device='cuda',
        started_from='somewhere',
        resume=True,
        log_level='ERROR',
        train_dataloader__num_workers=4,
        train_cfg__val_interval=7,
        val_dataloader__batch_size=3,
        val_evaluator=[],
        default_hooks__training_log__interval=3,
        default_hooks__probe=dict(type='GradientProbeHook'),
        default_hooks__checkpoint__interval=5,
    )
    assert said(other, config) is None


@pytest.mark.parametrize(
    ('path', 'value', 'expected'),
    [
        ('train_dataloader__batch_size', 3, 'train_dataloader.batch_size 3 (was 16)'),
        ('train_dataloader__dataset__crop_size', 32, 'train_dataloader.dataset.crop_size 32 (was 64)'),
        ('train_cfg__accumulate', 2, 'train_cfg.accumulate 2 (was not set)'),
        ('train_cfg__max_iters', 77, 'train_cfg.max_iters 77 (was '),
        ('optim_wrapper__max_norm', None, 'optim_wrapper.max_norm not set (was 1.0)'),
        ('optim_wrapper__precision', 'bfloat16', 'optim_wrapper.precision bfloat16 (was not set)'),
        ('optim_wrapper__optimizer__lr', float('inf'), 'optim_wrapper.optimizer.lr inf (was 0.0015)'),
        ('model__reconstruction_loss__type', 'L1Loss', 'model.reconstruction_loss.type L1Loss (was L2Loss)'),
        ('default_hooks__ema', dict(type='EMAHook', decay=0.5), 'default_hooks.ema.decay 0.5 (was '),
        ('custom_hooks', [dict(type='MyHook')], 'custom_hooks.0.type MyHook (was not set)'),
    ],
)
def test_what_changes_the_ending_is_named_with_both_values(
    path: str, value: Any, expected: str, config: dict[str, Any]
) -> None:
    line = said(config_data(change(config, **{path: value})), config)
    assert line is not None
    assert line.startswith('this run will not end like the one that wrote iter_3.pth: ')
    assert expected in line


def test_five_differences_are_listed_and_the_others_counted(config: dict[str, Any]) -> None:
    other = change(config, **{f'train_dataloader__dataset__option{number}': number for number in range(7)})
    line = said(other, config, elastic=True, world_size=2)
    assert line is not None
    assert line.count('(was') == 5
    assert 'processes 1 (was 2), images an iteration 16 (was 32), ' in line
    assert line.endswith(', and 4 more.')


@pytest.mark.parametrize(
    ('path', 'value'), [('model__type', 'GeneratorTask'), ('optim_wrapper__optimizer__type', 'SGD')]
)
def test_another_task_or_optimizer_cannot_continue(path: str, value: str, config: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf'{path.replace("__", ".")}=\w+, this run has {value}; load_from=iter_3.pth'):
        said(change(config, **{path: value}), config)


@pytest.mark.parametrize(
    ('then', 'now'), [(['encoder', 'quantizer'], []), ([], ['encoder']), (['encoder'], ['decoder'])]
)
def test_what_was_frozen_stays_frozen(then: list[str], now: list[str], config: dict[str, Any]) -> None:
    saved, other = (change(config, model__freeze=names) for names in (then, now))
    first, second = ((names or ['not set'])[0] for names in (then, now))
    message = rf'iter_3.pth was written with model.freeze.0={first}, this run has {second}; .*; keep it to resume'
    with pytest.raises(UserError, match=message):
        said(other, saved)
    assert said(saved, saved) is None


@pytest.mark.parametrize(
    ('saved', 'meta', 'expected'),
    [
        ('model = dict()', {}, 'written by FVQ 0.1'),
        (None, {}, 'carries no config'),
        ({'model': {1: 2}}, {}, 'the key 1'),
        ({}, dict(iter='3'), 'is not a whole number'),
        (..., dict(seed=5), 'made with seed 5, this run has 0; pass --seed 5'),
    ],
)
def test_a_strange_checkpoint_is_refused_in_one_line(
    saved: Any, meta: dict[str, Any], expected: str, config: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=expected):
        said(config, config if saved is ... else saved, **meta)


def test_another_number_of_processes_is_refused_unless_it_may_stretch(config: dict[str, Any]) -> None:
    with pytest.raises(UserError, match='written by 2 processes, this run has 1; start 2, or add --resume-elastic'):
        said(config, config, world_size=2)
    same_batch = change(config, train_dataloader__batch_size=8, train_cfg__accumulate=4)
    line = said(same_batch, change(config, train_dataloader__batch_size=16), elastic=True, world_size=2)
    assert line is not None
    assert 'processes 1 (was 2)' in line
    assert 'images an iteration' not in line


@pytest.mark.parametrize(
    ('world_size', 'saved_size', 'batch_size', 'expected'),
    [
        (4, 8, 8, (8, 4)),  # 32 images: four micro-batches in place of four processes
        (4, 8, 12, (8, 4)),  # no more than the config's batch, and a divisor
        (4, 8, 64, (32, 1)),
        (3, 5, 4, (3, 5)),
        (1, 8, 8, (8, 1)),
    ],
)
def test_the_batch_of_an_iteration_is_kept(
    world_size: int, saved_size: int, batch_size: int, expected: tuple[int, int], config: dict[str, Any], tmp_path: Path
) -> None:
    saved = change(config, train_dataloader__batch_size=saved_size)
    write_checkpoint(dict(state_dict={}, meta=dict(config=saved, world_size=world_size)), tmp_path / 'iter_3.pth')
    cfg = Config(dict(work_dir=str(tmp_path), resume=True, train_dataloader=dict(batch_size=batch_size), train_cfg={}))
    keep_global_batch(cfg)
    assert (cfg.train_dataloader.batch_size, cfg.train_cfg.accumulate) == expected


def make_wrapper(lr: float = 0.1, groups: int = 1, **settings: Any) -> OptimWrapper:
    parameters = [{'params': [torch.nn.Parameter(torch.ones(1))]} for _ in range(groups)]
    wrapper = OptimWrapper(torch.optim.Adam(parameters, lr=lr, **settings))
    for group in wrapper.param_groups:
        group['initial_lr'] = group['lr']  # as a schedule does
    return wrapper


def test_settings_of_the_optimizer_come_from_the_config_and_its_state_from_the_checkpoint() -> None:
    first = make_wrapper()
    parameter = first.optimizer.param_groups[0]['params'][0]
    parameter.grad = torch.full((1,), 2.0)
    first.step()
    first.optimizer.param_groups[0]['lr'] = 0.04  # where the schedule stands
    resumed = make_wrapper(lr=0.05, weight_decay=0.3, betas=(0.5, 0.9))
    resume_optimizer(resumed, first.state_dict(), 'iter_3.pth')
    (group,) = resumed.optimizer.param_groups
    assert (group['lr'], group['initial_lr']) == (pytest.approx(0.02), 0.05)
    assert (group['weight_decay'], group['betas']) == (0.3, (0.5, 0.9))
    kept = resumed.optimizer.state[group['params'][0]]
    assert torch.equal(kept['exp_avg'], first.optimizer.state[parameter]['exp_avg'])


def test_a_state_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r'other parameters, groups or precision .*load_from=iter_3\.pth'):
        resume_optimizer(make_wrapper(groups=2), make_wrapper().state_dict(), 'iter_3.pth')
    with pytest.raises(UserError, match=r'holds 0 scheduler\(s\) of the tokenizer, this run has 1'):
        resume_schedulers(dict(tokenizer=[object()]), {}, 'iter_3.pth')
