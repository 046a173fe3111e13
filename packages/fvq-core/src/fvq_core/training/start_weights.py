"""The weights that a run starts from: those of an earlier run, or of a saved tokenizer or generator."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from ..errors import UserError
from ..files.paths import expand_home
from ..ops.finite import check_finite_weights
from ..quantizer import Quantizer
from ..saving.weights import check_fit
from .checkpoint import read_checkpoint
from .tasks.task import Task

# State that a quantizer keeps for training beside its codebook: averages, momenta, whether it was initialized.
TRAINING_STATE = re.compile(r'(?:.*\.)?(?:update\..+|initialized)')
# Parts in which a tokenizer may differ from the saved one and still be the same model.
TRAINING_PARTS = frozenset(['update', 'init', 'loss', 'regularizer', 'estimator'])
PLAIN_TYPES = (int, float, str, bool, tuple)


@dataclass(frozen=True)
class StartWeights:
    """The weights of `load_from`, fitted to a task.

    Attributes:
        state: A whole state dict of the task.
        restarted: Whether the codebook's update starts without the state that it keeps.
        summary: What was loaded and what was not, in one line.
    """

    state: dict[str, Tensor]
    restarted: bool
    summary: str

    def load(self, task: Task) -> None:
        task.load_state_dict(self.state)
        if self.restarted:
            for module in task.modules():
                if isinstance(module, Quantizer):
                    module.adopt_codebook()


def find_start_weights(task: Task, source: str | Path, weights: Literal['ema', 'raw'] | None = None) -> StartWeights:
    """Read `load_from` and fit it to a task, which is not changed.

    The task's main part must fit, except for what a quantizer keeps for training. Any other part, such as a discriminator,
    is loaded if it is there and fits, and starts afresh otherwise.

    Args:
        task: On any device, including the meta device.
        source: An `iter_N.pth`, the folder of a saved tokenizer or generator, or `user/name` on the Hugging Face hub.
        weights: For a checkpoint with a moving average: the average (default) or the raw weights.

    Raises:
        UserError: No such file or folder, or weights that do not fit.
    """
    source = expand_home(source)
    main = next(iter(task.parts().values()))
    prefix = next(name for name, child in task.named_children() if child is main)
    if Path(source).is_file():
        found, name = read_start_checkpoint(source, weights)
        differences = []
    else:
        refuse_work_dir(Path(source))
        saved = task.load_saved(source)
        found, name = {f'{prefix}.{key}': value for key, value in saved.state_dict().items()}, source
        differences = list(different_settings(saved, main))
    own = task.state_dict()
    parts = {name: part_of(own, name) for name in dict.fromkeys(key.split('.')[0] for key in own)}
    state, restarted = fit_main_part(main, part_of(found, prefix), parts[prefix], source)
    state = {f'{prefix}.{key}': value for key, value in state.items()}
    loaded, fresh = [prefix], []
    for part in parts.keys() - {prefix}:
        there = part_of(found, part)
        if there and shapes(there) == shapes(parts[part]):
            check_finite_weights(there, source)
            state |= {f'{part}.{key}': value for key, value in there.items()}
            loaded.append(part)
        else:
            fresh.append(f'{part} (another one is there)' if there else part)
    summary = f'started from {name}: {", ".join(sorted(loaded))}'
    if restarted:
        fresh.append("what the codebook's update keeps")
    others = sorted({key.split('.')[0] for key in found} - parts.keys())
    for what, names in (('starts afresh', sorted(fresh)), ('left out', others), ('unlike what was saved', differences)):
        if names:
            summary += f'; {what}: {", ".join(names)}'
    return StartWeights({**own, **state}, restarted, summary)


def read_start_checkpoint(path: str, weights: Literal['ema', 'raw'] | None) -> tuple[dict[str, Tensor], str]:
    """The state dict of an `iter_N.pth`, with the average of the weights if there is one, and its name in messages."""
    checkpoint = read_checkpoint(path)
    average = checkpoint.get('ema_state_dict')
    if weights == 'ema' and average is None:
        raise UserError(f"{path} has no moving average; set load_weights='raw'.")
    if average is None or weights == 'raw':
        return checkpoint['state_dict'], path if average is None else f'{path} (raw weights)'
    return {**checkpoint['state_dict'], **average}, f'{path} (moving average)'


def refuse_work_dir(folder: Path) -> None:
    """Raise if a folder is a run's and not what the run exported."""
    names = [name for name in ('tokenizer', 'generator') if (folder / name / 'config.json').is_file()]
    if names and not (folder / 'config.json').is_file():
        raise UserError(f'{folder} is the folder of a run; start from {folder / names[0]} or from an iter_N.pth in it.')


def part_of(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(f'{name}.')}


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def fit_main_part(
    module: nn.Module, there: dict[str, Tensor], own: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], bool]:
    """The state that the main part loads, and whether the state of the codebook's update is missing from it.

    Raises:
        UserError: It is of another model, or folded although this one has a projector.
    """
    projects, projected = (any('projector' in key.split('.') for key in state) for state in (own, there))
    if projects and there and not projected:
        raise UserError(
            f'{source} has a mapped codebook, folded out of its projector, and this config would map it once more; start '
            'from a checkpoint (iter_N.pth) with that projector, or drop model.tokenizer.quantizer.projector.'
        )
    kept = {key: value for key, value in there.items() if key in own or not TRAINING_STATE.fullmatch(key)}
    missing = {key: value for key, value in own.items() if key not in kept and TRAINING_STATE.fullmatch(key)}
    check_fit(module, {**missing, **kept}, source)
    return kept, bool(missing)


def different_settings(saved: nn.Module, own: nn.Module) -> Iterator[str]:
    """Settings in which two models with the same weights compute something else, such as a normalisation."""
    modules = dict(own.named_modules())
    for name, there in saved.named_modules():
        here = modules.get(name)
        if here is None or TRAINING_PARTS & set(name.split('.')):
            continue
        if type(here) is not type(there):
            yield f'{name} is {type(there).__name__} there and {type(here).__name__} here'
            continue
        for key, value in plain_attributes(there).items():
            if getattr(here, key, value) != value:
                yield f'{name}.{key} is {value} there and {getattr(here, key)} here'.lstrip('.')


def plain_attributes(module: nn.Module) -> dict[str, Any]:
    hidden = ('training', 'checkpointing', 'loaded_facts')
    return {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, PLAIN_TYPES) and not key.startswith('_') and key not in hidden
    }
