"""The weights that a run starts from: those of an earlier run, or of a saved tokenizer or generator."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from ..errors import UserError
from ..files.paths import expand_home
from ..ops.finite import check_finite_weights
from ..quantizer import Quantizer
from ..saving.weights import check_fit
from .checkpoint import choose_weights, read_checkpoint
from .tasks.task import Task

# State that a quantizer keeps for training beside its codebook: averages, momenta, whether it was initialized.
TRAINING_STATE = re.compile(r'(?:.*\.)?(?:update\..+|initialized)')
# Parts in which a tokenizer may differ from the saved one and still be the same model.
TRAINING_PARTS = frozenset(['update', 'init', 'loss', 'regularizer', 'estimator'])
PLAIN_TYPES = (int, float, str, bool, tuple)
NO_SETTINGS = ('training', 'checkpointing', 'loaded_facts')  # attributes of plain types that change no output


@dataclass(frozen=True)
class StartWeights:
    """The weights of `load_from`, fitted to a task."""

    state: dict[str, Tensor]  # a whole state dict of the task
    restarted: bool  # whether the codebook's update starts without the state that it keeps
    summary: str  # what was loaded and what was not, in one line

    def load(self, task: Task) -> None:
        task.load_state_dict(self.state)
        if self.restarted:
            for module in task.modules():
                if isinstance(module, Quantizer):
                    module.on_codebook_loaded()


def find_start_weights(task: Task, source: str | Path, weights: Literal['ema', 'raw'] | None = None) -> StartWeights:
    """Read `load_from` and fit it to a task, which is not changed.

    The task's main part must fit, except for what a quantizer keeps for training. Any other part, such as a discriminator,
    is loaded if it is there and fits, and starts afresh otherwise.

    Args:
        task: On any device, including the meta device.
        source: An `iter_N.pth`, the folder of a saved tokenizer or generator, or `user/name` on the Hugging Face hub.
        weights: See `choose_weights`.
    """
    source = expand_home(source)
    main = next(iter(task.parts().values()))
    prefix = next(name for name, child in task.named_children() if child is main)
    if Path(source).is_file():
        checkpoint = read_checkpoint(source)
        chosen, note = choose_weights(checkpoint, source, weights, "set load_weights='raw'")
        found, name, differences = {**checkpoint['state_dict'], **chosen}, f'{source}{note}', []
    else:
        refuse_work_dir(Path(source))
        saved = task.load_saved(source)
        found, name = {f'{prefix}.{key}': value for key, value in saved.state_dict().items()}, source
        differences = list(different_settings(saved, main))
    own = task.state_dict()
    parts = {key.split('.')[0] for key in own}
    fitted, restarted = fit_main_part(main, part_of(found, prefix), part_of(own, prefix), source)
    state = own | {f'{prefix}.{key}': value for key, value in fitted.items()}
    loaded, fresh = [prefix], ["what the codebook's update keeps"] if restarted else []
    for part in parts - {prefix}:
        there = part_of(found, part)
        if there and shapes(there) == shapes(part_of(own, part)):
            check_finite_weights(there, source)
            state |= {f'{part}.{key}': value for key, value in there.items()}
            loaded.append(part)
        else:
            fresh.append(f'{part} (another one is there)' if there else part)
    summary = f'started from {name}: {", ".join(sorted(loaded))}'
    others = sorted({key.split('.')[0] for key in found} - parts)
    for what, names in (('starts afresh', sorted(fresh)), ('left out', others), ('unlike what was saved', differences)):
        if names:
            summary += f'; {what}: {", ".join(names)}'
    return StartWeights(state, restarted, summary)


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
    """The state that the main part loads, and whether the state of the codebook's update is missing from it."""
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
        for key, value in vars(there).items():
            plain = isinstance(value, PLAIN_TYPES) and not key.startswith('_') and key not in NO_SETTINGS
            if plain and getattr(here, key, value) != value:
                yield f'{name}.{key} is {value} there and {getattr(here, key)} here'.lstrip('.')
