"""Every config loads, builds, survives a dump, and differs from its base in what its name says and in nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.config import load_config
from fvq_core.registry import MODELS
from fvq_core.smoke import run_smoke, shrink_config

CONFIGS = Path(__file__).parents[1] / 'configs'
ROWS = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)

Q = 'model.tokenizer.quantizer'
# What each photo row changes of `fvq/fvq_photos.py`: dotted prefixes of everything that may differ.
DIFFERENCES = {
    'photos/fvq_gan.py': {'model.adversarial', 'default_hooks.ema'},
    'photos/fvq_no_anneal.py': {'param_scheduler.decay'},
    'photos/vq.py': {f'{Q}.projector', f'{Q}.init'},
    'photos/vq_no_anneal.py': {f'{Q}.projector', f'{Q}.init', 'param_scheduler.decay'},
    'photos/vq_tuned.py': {f'{Q}.projector', f'{Q}.init', 'optim_wrapper.paramwise_cfg'},
    'photos/vq_ema.py': {f'{Q}.projector', f'{Q}.loss', f'{Q}.update'},
    'photos/linear.py': {f'{Q}.projector', f'{Q}.init'},
    'photos/linear_no_anneal.py': {f'{Q}.projector', f'{Q}.init', 'param_scheduler.decay'},
    'photos/mlp5.py': {f'{Q}.projector', f'{Q}.init'},
    'photos/mlp5_no_anneal.py': {f'{Q}.projector', f'{Q}.init', 'param_scheduler.decay'},
    'photos/ibq.py': {f'{Q}.{axis}' for axis in ('projector', 'distance', 'estimator', 'loss', 'regularizer')},
    'photos/llamagen.py': {f'{Q}.{axis}' for axis in ('projector', 'code_dim', 'normalize', 'init')},
    'photos/rq.py': {Q},
}


def flat(node: Any, path: str = '') -> dict[str, Any]:
    """Leaves of a config by dotted path."""
    if isinstance(node, dict) and node:
        return {
            key: value for name in node for key, value in flat(node[name], f'{path}.{name}' if path else name).items()
        }
    if isinstance(node, list | tuple):
        return {key: value for index, item in enumerate(node) for key, value in flat(item, f'{path}.{index}').items()}
    return {path: node}


def leaves(name: str) -> dict[str, Any]:
    cfg = load_config(str(CONFIGS / name))
    cfg.pop('work_dir')
    return flat(cfg.to_dict())


def test_every_photo_row_says_what_it_changes() -> None:
    assert set(DIFFERENCES) == {name for name in ROWS if name.startswith('photos/')}


@pytest.mark.parametrize('name', sorted(DIFFERENCES))
def test_a_row_changes_what_its_name_says_and_nothing_else(name: str) -> None:
    base, row = leaves('fvq/fvq_photos.py'), leaves(name)
    changed = {key for key in base.keys() | row.keys() if base.get(key, KeyError) != row.get(key, KeyError)}
    prefixes = DIFFERENCES[name]
    assert all(any(key == p or key.startswith(f'{p}.') for p in prefixes) for key in changed), changed
    for prefix in prefixes:
        assert any(key == prefix or key.startswith(f'{prefix}.') for key in changed), f'{prefix} does not differ'


@pytest.mark.parametrize('name', ROWS)
def test_a_dumped_config_builds_the_same_model(name: str, tmp_path: Path) -> None:
    cfg = load_config(str(CONFIGS / name))
    cfg.dump(str(tmp_path / 'dumped.py'))
    again = load_config(str(tmp_path / 'dumped.py'))
    with torch.device('meta'):
        one, other = MODELS.build(cfg.model), MODELS.build(again.model)
    shapes = [{key: value.shape for key, value in task.state_dict().items()} for task in (one, other)]
    assert shapes[0] == shapes[1]
    assert repr(one) == repr(other)


@pytest.mark.parametrize(
    'name', ['fvq/fvq_16k.py', 'photos/fvq_gan.py', 'photos/rq.py', 'photos/ibq.py', 'photos/vq_ema.py']
)
def test_smoke_trains_validates_saves_resumes_and_folds(name: str, tmp_path: Path) -> None:
    cfg = shrink_config(load_config(str(CONFIGS / name), work_dir=str(tmp_path)))
    proven: list[str] = []
    run_smoke(cfg, proven.append)
    assert [line.split(':')[0] for line in proven] == ['trains and validates', 'saves', 'resumes', 'folds']
