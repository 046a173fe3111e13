"""Finding the state dicts in what a training script saved, under any name and at any depth."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .known_objects import Inert, tensor_or_none
from .unreadable import CheckpointError, sanitized

# Modules that wrap another one and add their name to every key below it.
WRAPPERS = frozenset(['module', '_orig_mod', '_forward_module', '_fsdp_wrapped_module', '_checkpoint_wrapped_module'])
AVERAGE = re.compile(r'(?<![a-z])(?:ema|swa)(?![a-z])|EMA|Ema(?![a-z])|averaged')
NOT_WEIGHTS = re.compile(r'(?i)optimizer|sched|scaler|(?<![a-z])(?:optim|opt|rng|loops?|args|config)(?![a-z])')
LIT_EMA = 'model_ema.'  # latent diffusion's average: the names of all weights or of its `model`, without dots
MAX_INDEX = 1000
MAX_DEPTH, MAX_PARTS_DEPTH, MAX_CONTAINERS = 8, 4, 10_000
KeyPath = tuple[str, ...]  # keys from the outside inwards


@dataclass(frozen=True)
class Weights:
    """A state dict in a file; keys are without the prefixes of DistributedDataParallel, FSDP, Fabric and torch.compile."""

    state: dict[str, Tensor]
    name: str  # where it is, such as `trainer.vae_local`; empty for the whole file
    left_out: tuple[str, ...] = ()  # names of what else is in the file

    @property
    def averaged(self) -> bool:
        return bool(AVERAGE.search(self.name)) and 'online_model' not in self.name  # what ema-pytorch averages

    def note(self) -> str:
        """A sentence on what was taken and what was not; empty if the file is just the state dict."""
        taken = f"weights of '{sanitized(self.name)}'" if self.name else ''
        shown = ', '.join(self.left_out[:12])
        more = f' and {len(self.left_out) - 12} more' if len(self.left_out) > 12 else ''
        return '; '.join(part for part in (taken, f'left out: {shown}{more}' if shown else '') if part)


def candidates(content: Any) -> list[Weights]:
    """Every state dict in a file's content, averages of weights first, then from the outside inwards.

    An average that lacks tensors of the raw weights, such as buffers, takes them from there. `content` is what
    `read_weights_file` returned, or any mapping of tensors.
    """
    found = [
        Weights(state, '.'.join(path), tuple(left_out(content, path)))
        for path, tensors in state_dicts(content)
        for path, state in with_average(path, plain_state(tensors))
    ]
    raw = [each for each in found if not each.averaged]
    return [completed(each, raw) for each in found if each.averaged] + raw


def parts(weights: Weights) -> Iterator[Weights]:
    """The state dict itself, then those of its submodules, from the outside inwards: `first_stage_model.`, `model.` ..."""
    level = [weights]
    for _ in range(MAX_PARTS_DEPTH):
        yield from sorted(level, key=lambda each: not each.averaged)
        level = [below for each in level for below in submodules(each)]


def submodules(weights: Weights) -> Iterator[Weights]:
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in weights.state.items():
        first, dot, rest = key.partition('.')
        if dot:
            groups.setdefault(first, {})[rest] = value
    for first, state in groups.items():
        others = tuple(f'{other}.*' for other in groups if other != first)
        yield Weights(state, f'{weights.name}.{first}'.lstrip('.'), weights.left_out + others)


def plain_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without the names of wrapping modules in its keys, and without counters.

    Raises if two keys become one, or one of them names a layer of a model that is far larger than the file.
    """
    state: dict[str, Tensor] = {}
    for key, value in tensors.items():
        parts, shown = key.split('.'), f"the key '{sanitized(key)}'"
        if any(part.isdecimal() and (len(part) > 9 or int(part) > max(MAX_INDEX, len(tensors))) for part in parts):
            raise CheckpointError(f'{shown} counts further than the {len(tensors)} tensors beside it.')
        plain = '.'.join(part for part in parts if part not in WRAPPERS)
        if '.' not in plain and value.dim() == 0:  # `steps`, `n_averaged`, `num_updates`
            continue
        if plain in state:
            raise CheckpointError(f'{shown} is there twice, under different names of wrapping modules.')
        state[plain] = value
    return state


def state_dicts(content: Any) -> Iterator[tuple[KeyPath, dict[str, Tensor]]]:
    """(path, tensors by key) of each container that holds tensors, breadth first."""
    level: list[tuple[KeyPath, Any]] = [((), content)]
    seen: set[int] = set()
    for _ in range(MAX_DEPTH):
        below = []
        for path, value in level:
            children = children_of(value)
            if children is None or id(value) in seen or len(seen) >= MAX_CONTAINERS:
                continue
            seen.add(id(value))
            tensors = {key: tensor for key, child in children if (tensor := tensor_or_none(child)) is not None}
            if tensors and isinstance(value, Mapping | Inert):
                yield path, tensors
            below += [((*path, key), child) for key, child in children if not NOT_WEIGHTS.search(key)]
        level = below


def children_of(value: Any) -> list[tuple[str, Any]] | None:
    """The entries of a container by name; None for anything else."""
    if isinstance(value, Inert):
        state = value.state if isinstance(value.state, dict) else {}
        if '_modules' in state and '_parameters' in state:
            return list(module_tensors(value).items())  # a module that was pickled whole
        value = value.items or state
    if isinstance(value, Mapping):
        return [(key, child) for key, child in value.items() if isinstance(key, str)]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [(str(number), child) for number, child in enumerate(value[:100])]
    return None


def module_tensors(module: Inert) -> dict[str, Tensor]:
    """The state dict of an `nn.Module` that was pickled whole."""
    found: dict[str, Tensor] = {}
    waiting: list[tuple[str, Any]] = [('', module)]
    while waiting and len(found) < MAX_CONTAINERS:
        prefix, part = waiting.pop()
        state = part.state if isinstance(part, Inert) and isinstance(part.state, dict) else {}
        for group in ('_parameters', '_buffers', '_modules'):
            entries = state.get(group)
            for key, value in entries.items() if isinstance(entries, dict) else ():
                tensor = tensor_or_none(value)
                if tensor is not None:
                    found[f'{prefix}{key}'] = tensor
                elif group == '_modules' and prefix.count('.') < 100:
                    waiting.append((f'{prefix}{key}.', value))
    return found


def with_average(path: KeyPath, state: dict[str, Tensor]) -> Iterator[tuple[KeyPath, dict[str, Tensor]]]:
    """A state dict, and separately the average that latent diffusion keeps inside it."""
    raw = {key: value for key, value in state.items() if not key.startswith(LIT_EMA)}
    names = {f'{LIT_EMA}{each.replace(".", "")}': key for key in raw for each in (key, key.removeprefix('model.'))}
    average = {names[key]: value for key, value in state.items() if key in names}
    if average:
        yield (*path, LIT_EMA[:-1]), average
    yield path, raw


def completed(average: Weights, raw: Sequence[Weights]) -> Weights:
    """An average, completed with the raw weights that it lacks."""
    whole = next((each.state for each in raw if average.state.keys() <= each.state.keys()), average.state)
    return Weights(whole | average.state, average.name, average.left_out)


def left_out(content: Any, path: KeyPath) -> Iterator[str]:
    """What is beside a container and the ones around it, with the class of what is not a plain value."""
    for depth, key in enumerate(path):
        for other, value in children_of(content) or ():
            if other != key:
                kind = f' ({sanitized(value.name)})' if isinstance(value, Inert) else ''
                yield sanitized('.'.join((*path[:depth], other))) + kind
        content = dict(children_of(content) or ()).get(key)
