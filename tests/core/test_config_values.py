"""A value of the wrong type anywhere in a config costs one line, before anything is made."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from fvq_core.commands import train
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.registry import all_registries, build_component, load_plugins
from fvq_core.registry.argument_types import declared, fits, wording
from fvq_core.training.run_parts import build_run_parts
from fvq_core.training.runner import Runner

WRONG = ('abc', -1, 0, None, [], {}, 1.5, True, [1, 2], math.nan)
SMALL = {'train_dataloader.dataset.crops': 8, 'val_dataloader.dataset.crops': 8}
FREE = ('read_base', 'work_dir')  # any value is a name of a folder


def paths(node: Any, path: str = '') -> Iterator[str]:
    """Every entry of a config, but not the classes that a config imports."""
    for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
        if path or not isinstance(value, type):
            here = f'{path}.{key}' if path else str(key)
            yield here
            if isinstance(value, Mapping | list | tuple):
                yield from paths(value, here)


@pytest.mark.parametrize('config', ['configs/mini/vq.py', 'configs/fvq/fvq_photos_gan.py'])
def test_every_entry_with_a_value_of_another_type_is_accepted_or_refused_in_one_line(
    config: str, tmp_path: Path
) -> None:
    weights = {'model.perceptual_loss': None} if 'gan' in config else {}
    start = {**SMALL, **weights}
    build_run_parts(load_config(config, start, str(tmp_path / 'run')))
    refused = {}
    for number, path in enumerate(paths(load_config(config, start)._cfg_dict)):
        for value in (WRONG[number % len(WRONG)], WRONG[(number + 3) % len(WRONG)], WRONG[(number + 7) % len(WRONG)]):
            try:
                build_run_parts(load_config(config, {**start, path: value}, str(tmp_path / 'run')))
            except UserError as error:  # anything else fails the test
                refused[path] = str(error)
    assert not [message for message in refused.values() if '\n' in message]
    typed = ('model.tokenizer.quantizer.codebook_size', 'train_dataloader.batch_size', 'optim_wrapper.optimizer.lr')
    assert set(typed) <= refused.keys()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ({'model.tokenizer.quantizer.codebook_size': 'abc'}, "codebook_size: expected a whole number, got 'abc'"),
        (
            {'model.tokenizer.encoder.ch_mult': 2},
            'model.tokenizer.encoder.ch_mult: expected a list of whole numbers, got 2',
        ),
        ({'model.tokenizer.encoder.ch_mult.1': 'x'}, 'ch_mult: expected a list of whole numbers, got'),
        (
            {'optim_wrapper.optimizer.lr': 'fast'},
            "optim_wrapper.optimizer.lr: expected a number or a Tensor, got 'fast'",
        ),
        ({'train_dataloader.num_workers': 'two'}, "num_workers: expected a whole number, got 'two'"),
        ({'train_dataloader.max_unreadable': '10%'}, "max_unreadable: expected a number, got '10%'"),
        (
            {'default_hooks.checkpoint.interval': 'often'},
            "default_hooks.checkpoint.interval: expected a whole number, got 'of",
        ),
        ({'default_hooks.training_log.interval': 0}, 'TrainingLogHook: interval must be 1 or more, got 0'),
        ({'randomness.seed': 'abc'}, "randomness.seed: expected a whole number or None, got 'abc'"),
        ({'model': 3}, 'model: expected a dict, got 3'),
        ({'train_cfg.type': 'TrainLop'}, "'TrainLop' is not registered; did you mean 'TrainLoop'"),
        ({'log_level': 'LOUD'}, "log_level: 'LOUD' is not a level"),
        ({'load_weights': 'best'}, "load_weights: expected 'ema' or 'raw' or None, got 'best'"),
        ({'env_cfg': dict(mp_cfg=5)}, 'env_cfg.mp_cfg: expected a dict, got 5'),
        ({'auto_scale_lr': dict(enable='no')}, "auto_scale_lr.enable: expected True or False, got 'no'"),
        ({'auto_scale_lr': dict(enable=True)}, 'auto_scale_lr: expected base_batch_size, 1 or more, got'),
        ({'auto_scale_lr': dict(enable=True, base_batch_size=0)}, "'base_batch_size': 0}; set it"),
        ({'train_dataloader.prefetch_factor': 0}, 'prefetch_factor must be 1 or more, got 0'),
        ({'model.compile': 'yes'}, "model.compile: there is no backend 'yes'"),
        ({'custom_hooks': [dict(type='NPUProfilerHook')]}, 'NPUProfilerHook: ImportError: Failed to import torch_npu'),
        ({'train_cfg.max_iters': 1.5}, 'train_cfg.max_iters: expected a whole number or None, got 1.5'),
    ],
)
def test_message_names_the_path_what_was_expected_and_what_came(option: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build_run_parts(load_config('configs/mini/vq.py', {**SMALL, **option}))
    assert message in str(caught.value)


@pytest.mark.parametrize('missing', ['model', 'train_dataloader', 'optim_wrapper', 'train_cfg'])
def test_a_config_without_a_part_is_refused_by_its_name(missing: str) -> None:
    cfg = load_config('configs/mini/vq.py')
    cfg.pop(missing)
    with pytest.raises(UserError, match=f"the config has no '{missing}'"):
        build_run_parts(cfg)


def test_home_is_expanded_everywhere_and_a_number_is_a_name_of_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', '/home/ada')
    options = {
        'load_from': '~/vq',
        'val_dataloader.dataset': dict(_delete_=True, type='ImageFolder', root='~/val'),
        'work_dir': 2024,
    }
    cfg = load_config('configs/mini/vq.py', options)
    assert (cfg.load_from, cfg.val_dataloader.dataset.root, cfg.work_dir) == ('/home/ada/vq', '/home/ada/val', '2024')
    assert load_config('configs/mini/vq.py', {}, '~/run').work_dir == '/home/ada/run'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('x = 1\ny = nothing', "line 2: NameError: name 'nothing' is not defined"),
        ('from os import path\n\nx = path.join("a", "b")', 'line 3: what a config imports is not imported yet'),
        (
            'import os\nfrom fvq_core.losses import L2Loss\nx = os.getcwd()',
            'line 3: what a config imports is not imported yet',
        ),
        (
            'from fvq_core.losses import L2Losss\nx = dict(type=L2Losss)',
            'Failed to import L2Losss from fvq_core.losses',
        ),
        ('x = (', "SyntaxError: '(' was never closed"),
        ('raise ValueError("two\\nlines")', 'line 1: ValueError: two lines'),
    ],
)
def test_a_config_that_does_not_load_names_reason_and_line(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'own.py').write_text(f'{text}\n')
    assert train.main([str(tmp_path / 'own.py')]) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert message in error
    assert 'own.py' in error


@pytest.mark.filterwarnings('ignore:Multi-processing start method')  # mmengine's, if a test before set another
@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('base = 5', 'base: expected text, got 5'),
        ("base = ['configs/mini/vq.py']", r"base: expected text, got \['configs/mini/vq.py'\]"),
        (
            "base = 'configs/mini/vq.py'\nval_evaluator = dict(type='PSNR')",
            'val_evaluator: expected a list, as in the base',
        ),
        ("base = 'configs/mini/vq.py'\npaper = dict(a=lambda: 1)", 'paper.a: a function cannot be kept with a run'),
        ("base = 'configs/mini/vq.py'\nclass Mine: pass", 'Mine: a type cannot be kept with a run'),
        (
            "base = 'configs/mini/vq.py'\nenv_cfg = dict(mp_cfg=dict(mp_start_method='x'))",
            "cannot find context for 'x'",
        ),
    ],
)
def test_a_config_that_python_takes_and_a_run_does_not_costs_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / 'own.py').write_text(f'{text}\n')
    with pytest.raises(UserError, match=message):
        Runner.from_cfg(load_config(str(tmp_path / 'own.py'), work_dir=str(tmp_path / 'run')))


def test_positions_of_a_list_may_be_replaced_by_their_number(tmp_path: Path) -> None:
    (tmp_path / 'own.py').write_text("base = 'configs/mini/vq.py'\nval_evaluator = {'0': dict(type='PSNR')}\n")
    assert load_config(str(tmp_path / 'own.py')).val_evaluator[0].type == 'PSNR'


def test_debugging_shows_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __init__(self, width: int) -> None:
            raise AttributeError(f'no {width}')

    registry = all_registries()[0]
    with pytest.raises(UserError, match=r'^Broken: AttributeError: no 3; FVQ_DEBUG=1 shows where') as caught:
        build_component(dict(type=Broken, width=3), registry)
    assert isinstance(caught.value.__cause__, AttributeError)
    monkeypatch.setenv('FVQ_DEBUG', '1')
    with pytest.raises(UserError, match='no_such'):
        train.main([str(tmp_path / 'no_such.py')])


def test_defaults_of_everything_registered_are_of_the_types_that_it_declares() -> None:
    load_plugins()
    components = {each for registry in all_registries() for each in registry.known().values() if callable(each)}
    ours = [each for each in components if each.__module__.startswith('fvq_')]
    assert len(ours) > 100
    for component in ours:
        for name, (hint, default) in declared(component).items():
            assert type(default) is type or fits(default, hint), (component, name)


@pytest.mark.parametrize(
    ('hint', 'right', 'wrong', 'words'),
    [
        (int, [3], [True, 2.0, '3', None], 'a whole number'),
        (float, [3, 0.5], [True, '3', [1.0]], 'a number'),
        (bool, [True], [1, 'yes'], 'True or False'),
        (int | None, [3, None], ['x'], 'a whole number or None'),
        (Literal['a', 2], ['a', 2], ['b', 2.0], "'a' or 2"),
        (Sequence[float], [[1, 2.5], ()], ['abc', [1, 'x'], 3], 'a list of numbers'),
        (tuple[float, float], [(1, 2)], [(1, 2, 3), [1]], '2 values (a number, a number)'),
        (Mapping[str, Any], [dict(type='x')], ['x', [1]], 'a dict'),
        (Path | str, ['x', Path('x')], [3], 'a Path or text'),
        (Any, [3, 'x', None], [], 'Any'),
    ],
)
def test_types_and_their_words(hint: Any, right: list[Any], wrong: list[Any], words: str) -> None:
    assert all(fits(value, hint) for value in right)
    assert not any(fits(value, hint) for value in wrong)
    assert wording(hint) == words
