"""The weights that a run starts from: those of an earlier run, or of a saved tokenizer or generator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from ..config.difference import ABSENT, differing, settings
from ..config.walk import components
from ..errors import UserError
from ..files.paths import expand_home
from ..ops.finite import check_finite_weights
from ..quantizer import FittedState, Quantizer
from ..registry import by_name, describe
from ..saving.weights import check_fit
from .checkpoint import choose_weights, read_checkpoint
from .load_task import checkpoint_config
from .tasks.task import Task

# Arguments that may differ in the same model; of the number of codes there is a note.
NO_DIFFERENCE = frozenset(['update', 'loss', 'regularizer', 'estimator', 'codebook_size'])


@dataclass(frozen=True)
class StartWeights:
    """The weights of `load_from`, fitted to a task."""

    state: dict[str, Tensor]  # a whole state dict of the task
    quantizers: list[FittedState]  # what each quantizer loads of it
    summary: str  # what was loaded and what was not, in one line

    def load(self, task: Task) -> None:
        task.load_state_dict(self.state)
        for fitted in self.quantizers:
            fitted.loaded()


def find_start_weights(
    task: Task, source: str | Path, weights: Literal['ema', 'raw'] | None = None, fresh: Sequence[str] = ()
) -> StartWeights:
    """Read `load_from` and fit it to a task, which is not changed.

    The task's main part must fit, except for what its quantizer can do without (`Quantizer.fit_state`), and for children
    that start afresh: `fresh`, and those of another class than the saved ones. Any other part, such as a discriminator, is
    loaded if it is there and fits, and starts afresh otherwise.

    Args:
        task: On any device, including the meta device.
        source: An `iter_N.pth`, the folder of a saved tokenizer or generator, or `user/name` on the Hugging Face hub.
        weights: See `choose_weights`.
        fresh: Children of the main part that are not loaded.
    """
    source = expand_home(source)
    main = next(iter(task.parts().values()))
    prefix = next(name for name, child in task.named_children() if child is main)
    own = task.state_dict()
    if Path(source).is_file():
        checkpoint = read_checkpoint(source)
        chosen, note = choose_weights(checkpoint, source, weights, "set load_weights='raw'")
        found, name, differences = {**checkpoint['state_dict'], **chosen}, f'{source}{note}', []
        kept = checkpoint.get('meta', {}).get('config')
        described = checkpoint_config(checkpoint, source).get('model', {}).get(prefix, {}) if kept else {}
    else:
        refuse_work_dir(Path(source))
        saved = task.load_saved(source)
        found, name = replaced({}, prefix, saved.state_dict()), source
        described, differences = by_name(describe(saved)), list(different_settings(saved, main))
    left_out = children_left_out(task, described, fresh, source)
    unlike = [each for each in differences if each.split(' ')[0].split('.')[0] not in left_out]
    fitted, quantizers = fit_main_part(main, part_of(found, prefix), left_out, source)
    state = replaced(own, prefix, fitted)
    parts, loaded = {key.split('.')[0] for key in own}, [prefix]
    afresh = [*left_out, *{each.afresh for each in quantizers if each.afresh}]
    for part in parts - {prefix}:
        there = part_of(found, part)
        if there and shapes(there) == shapes(part_of(own, part)):
            check_finite_weights(there, source)
            state = replaced(state, part, there)
            loaded.append(part)
        else:
            afresh.append(f'{part} (another one is there)' if there else part)
    summary = f'started from {name}: {", ".join(sorted(loaded))}'
    others = sorted({key.split('.')[0] for key in found} - parts)
    notes = sorted({each.note for each in quantizers if each.note})
    said = {'starts afresh': sorted(afresh), 'left out': others, 'unlike what was saved': unlike, 'codebook': notes}
    summary += ''.join(f'; {what}: {", ".join(names)}' for what, names in said.items() if names)
    return StartWeights(state, quantizers, summary)


def children_left_out(task: Task, described: Mapping[str, Any], fresh: Sequence[str], source: str) -> list[str]:
    """The children of the main part that start afresh; raises for one that is frozen, or that there is not."""
    main = next(iter(task.parts().values()))
    names = [name for name, _ in main.named_children()]
    if unknown := next((name for name in fresh if name not in names), None):
        raise UserError(f"load_fresh: {type(main).__name__} has no part '{unknown}'; it has {', '.join(names)}.")
    there, here = (
        {path: node['type'] for path, node in components(each)} for each in (described, by_name(describe(main)))
    )
    left_out = [name for name in names if name in fresh or (name in there.keys() & here and there[name] != here[name])]
    for name in task.frozen_parts:
        if any(getattr(main, child) in task.freezable()[name] for child in left_out):
            raise UserError(f'model.freeze: {name} would stay at its initial values, which {source} does not replace.')
    return left_out


def refuse_work_dir(folder: Path) -> None:
    """Raise if a folder is a run's and not what the run exported."""
    names = [name for name in ('tokenizer', 'generator') if (folder / name / 'config.json').is_file()]
    if names and not (folder / 'config.json').is_file():
        raise UserError(f'{folder} is the folder of a run; start from {folder / names[0]} or from an iter_N.pth in it.')


def part_of(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(f'{name}.')}


def replaced(state: Mapping[str, Tensor], name: str, part: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state with all of a part exchanged."""
    others = {key: value for key, value in state.items() if not key.startswith(f'{name}.')}
    return others | {f'{name}.{key}': value for key, value in part.items()}


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def fit_main_part(
    main: nn.Module, there: dict[str, Tensor], left_out: Sequence[str], source: str
) -> tuple[dict[str, Tensor], list[FittedState]]:
    """The state that the main part loads, and how its quantizers took theirs; raises if it does not fit."""
    own, quantizers = main.state_dict(), []
    state = {key: value for key, value in there.items() if key.split('.')[0] not in left_out}
    state |= {key: value for key, value in own.items() if key.split('.')[0] in left_out}
    for name, module in main.named_modules():
        if isinstance(module, Quantizer) and name.split('.')[0] not in left_out:
            quantizers.append(module.fit_state(part_of(state, name), source))
            state = replaced(state, name, quantizers[-1].state)
    unfit = {key.split('.')[0] for key, _ in shapes(state).items() ^ shapes(own).items()}
    remedy = (
        f'; --fresh {" ".join(sorted(unfit))} trains these from scratch'
        if unfit < {key.split('.')[0] for key in own}
        else ''
    )
    check_fit(main, state, source, remedy)
    return state, quantizers


def different_settings(saved: nn.Module, own: nn.Module) -> Iterator[str]:
    """Settings in which two models with the same weights compute something else, such as a normalisation."""
    for key, (there, here) in differing(settings(saved), settings(own)).items():
        if ABSENT not in (there, here) and not NO_DIFFERENCE & set(key.split('.')):
            yield f'{key.removesuffix(".type")} is {there} there and {here} here'
