"""A run is built once and checked before anything is written."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fvq_core.config.read import load_config
from fvq_core.data import BundledPhotos
from fvq_core.errors import UserError
from fvq_core.training.runner import Runner
from fvq_core.training.tasks import TokenizerTask
from fvq_eval.hooks import ReportHook

TINY = {
    'train_dataloader.dataset.crops': 8,
    'train_dataloader.batch_size': 2,
    'val_dataloader.dataset.crops': 4,
    'val_dataloader.batch_size': 2,
    'train_cfg.max_iters': 2,
    'default_hooks.report': None,
}


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of some classes was constructed; datasets by their split."""
    counts: Counter[str] = Counter()

    def count(kind: type, name: Any) -> None:
        construct = kind.__init__

        def counting(self: Any, *args: Any, **kwargs: Any) -> None:
            counts[name(kwargs)] += 1
            construct(self, *args, **kwargs)

        monkeypatch.setattr(kind, '__init__', counting)

    count(BundledPhotos, lambda arguments: arguments['split'])
    count(TokenizerTask, lambda arguments: 'task')
    count(ReportHook, lambda arguments: 'hook')
    return counts


def test_a_run_builds_the_model_each_dataset_and_each_hook_once(built: Counter[str], tmp_path: Path) -> None:
    options = {**TINY, 'default_hooks.report': dict(type='ReportHook', pictures=2)}
    Runner.from_cfg(load_config('configs/mini/vq.py', options, str(tmp_path / 'run'))).train()
    assert built == {'task': 1, 'train': 1, 'eval': 1, 'hook': 1}


def test_a_run_without_evaluation_builds_no_evaluation_data(built: Counter[str], tmp_path: Path) -> None:
    runner = Runner.from_cfg(load_config('configs/mini/vq.py', {**TINY, 'val_cfg': None}, str(tmp_path / 'run')))
    assert runner.val_loop is None
    assert built == {'task': 1, 'train': 1}


def test_the_seed_is_set_before_the_model_is_built(tmp_path: Path) -> None:
    first, again, other = (
        Runner.from_cfg(load_config('configs/mini/vq.py', TINY, str(tmp_path / str(number)), seed)).task.state_dict()
        for number, seed in enumerate((3, 3, 4))
    )
    key = 'tokenizer.encoder.conv_in.weight'
    assert (first[key] == again[key]).all()
    assert (first[key] != other[key]).any()


def test_a_config_with_a_class_of_python_is_kept_as_its_path(tmp_path: Path) -> None:
    cfg = load_config('configs/mini/vq.py', TINY, str(tmp_path / 'run'))
    cfg.paper = dict(a=str)
    cfg.visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
    runner = Runner.from_cfg(cfg)
    assert runner.config_data['paper'] == dict(a='builtins.str')
    (written,) = (tmp_path / 'run').rglob('vis_data/config.py')  # mmengine's copy
    assert "a='builtins.str'" in written.read_text()


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ({'default_hooks.checkpoint.priority': 'VERYLOW'}, "unknown priority 'VERYLOW'; did you mean 'VERY_LOW'"),
        (
            {'val_dataloader.dataset.crop_size': 66},
            'val_dataloader: VQGANEncoder: image sides .*, got 66x66',
        ),
        ({'val_evaluator.0.type': 'PNSR'}, "did you mean 'PSNR'"),
        ({'load_from': 'nothing.pth'}, r'nothing\.pth'),
    ],
)
def test_nothing_is_written_before_everything_is_built(option: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        Runner.from_cfg(load_config('configs/mini/vq.py', {**TINY, **option}, str(tmp_path / 'run')))
    assert not list(tmp_path.iterdir())
