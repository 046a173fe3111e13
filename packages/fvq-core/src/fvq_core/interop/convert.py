"""From a peer's checkpoint to a folder of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from ..errors import UserError, nearest_hint
from ..files.paths import expand_home
from ..files.torch_weights import CheckpointError, Weights, candidates, parts
from ..progress import Progress
from ..registry import IMPORTERS, constructor_arguments
from ..saving.weights import load_weights
from ..saving.write_folder import refuse_foreign_folder
from .importer import Importer
from .key_map import LayoutError

T = TypeVar('T')
# What reading shapes raises if a file has the keys of a layout but other tensors.
SHAPE_ERRORS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError)


def first_fit(content: Any, use: Callable[[Weights], T], choice: Literal['ema', 'raw'] | None = None) -> T:
    """`use` of the first state dict in a file with the layout that it expects, averages of weights before raw ones.

    Args:
        use: Takes a state dict; raises LayoutError if it is of another model.
        choice: Only averages of the weights, or only raw ones; by default either.
    """
    first: UserError | None = None
    for each in candidates(content):
        for part in parts(each):
            if choice is not None and part.averaged != (choice == 'ema'):
                continue
            try:
                return use(part)
            except LayoutError as error:
                first = first or error
            except UserError:
                raise
            except SHAPE_ERRORS as error:
                reason = ' '.join(str(error).split())[:120]
                raise UserError(f'a tensor has another shape than in the released checkpoints ({reason}).') from error
    if choice is not None and candidates(content):
        raise UserError(
            f'no {"average of the" if choice == "ema" else "raw"} weights in this layout; drop --weights {choice}.'
        )
    raise first or CheckpointError('no state dict in this file.')


@contextmanager
def errors_about(path: str | Path) -> Iterator[None]:
    """Prefix errors inside with the file that they are about."""
    try:
        yield
    except UserError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f'{path}: {error}') from error


def find_importer(peer: str, options: Mapping[str, Any]) -> type[Importer]:
    """The importer of a peer; raises if it lacks one of these options."""
    importer = IMPORTERS.registered(peer)
    if importer is None:
        raise UserError(f"unknown peer '{peer}'; {IMPORTERS.hint(peer)}")
    known = constructor_arguments(importer.read) or {}
    for name in options:
        if name not in known:
            raise UserError(f"the importer of '{peer}' has no option '{name}'; {nearest_hint(name, known)}")
    return importer


def import_from_peer(
    peer: str, content: Any, choice: Literal['ema', 'raw'] | None = None, **options: Any
) -> tuple[Any, Weights]:
    """Our model with a peer's weights, in eval mode, and which weights of the file they are.

    `content` and `choice` are those of `first_fit`; `options` are those of the peer's importer.
    """
    importer = find_importer(peer, options)
    (config, renamed), weights = first_fit(content, lambda each: (importer.read(each.state, **options), each), choice)
    for key, value in renamed.items():
        if not value.numel():  # before a model without channels is built
            raise UserError(f'the tensor {key} is empty, of shape {tuple(value.shape)}.')
    with torch.device('meta'):
        skeleton = importer.kind.registry.build(config)
    model = skeleton.to_empty(device='cpu')
    source = f'the {peer} checkpoint'
    check_numbers(model, renamed, source)
    load_weights(model, renamed, source)
    return model.eval(), weights


def check_numbers(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Raise if a tensor is not floating-point where the module's is (or vice versa), or has NaN or infinite values."""
    own = module.state_dict()
    mismatched = [
        key for key, value in state.items() if key in own and own[key].is_floating_point() != value.is_floating_point()
    ]
    if mismatched:
        key = mismatched[0]
        raise UserError(f'{source}: {key} is {state[key].dtype}, expected {own[key].dtype}.')
    each = Progress.each(state.items(), f'checking {source}', len(state), 'tensor')  # where a mapped file is read
    broken = [key for key, value in each if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise UserError(f'{source}: {len(broken)} tensors have values that are not finite, the first is {broken[0]}.')


def convert_file(
    peer: str, path: str | Path, out: str | Path, choice: Literal['ema', 'raw'] | None = None, **options: Any
) -> Any:
    """Read a peer's checkpoint and write a folder, whose card names the weights used; returns the model.

    Args:
        choice: The average of the weights, or the raw ones; by default the average if there is one.
        options: What the file does not store, as arguments of the peer's importer; None counts as not given.
    """
    given = {name: value for name, value in options.items() if value is not None}
    importer = find_importer(peer, given)  # before a large file is read
    path, folder = expand_home(path), Path(expand_home(out))
    refuse_foreign_folder(folder, importer.kind)
    with errors_about(path):
        model, weights = import_from_peer(peer, importer.read_file(Path(path)), choice, **given)
    origin = ', '.join(part for part in (f'{peer}: {Path(path).name}', weights.note()) if part)
    importer.save(model, folder, {'weights': origin})
    return model
