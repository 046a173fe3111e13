"""From a peer's file to a tokenizer folder of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from ..errors import UserError, nearest_hint
from ..files.paths import expand_home
from ..files.torch_weights import CheckpointError, Weights, candidates, parts, read_weights_file
from ..registry import TOKENIZERS, constructor_arguments, load_plugins
from ..saving.weights import load_weights
from ..saving.write_folder import refuse_foreign_folder
from ..tokenizer import Tokenizer
from . import OTHER_PEERS, PEERS
from .key_map import LayoutError

T = TypeVar('T')
# What indexing and unpacking shapes raise where a file has the keys of a layout and other tensors.
OTHER_SHAPES = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError)


def first_fit(content: Any, use: Callable[[Weights], T], choice: Literal['ema', 'raw'] | None = None) -> T:
    """What `use` makes of the first state dict in a file that has the layout it expects: an average before raw weights.

    Args:
        content: What `read_weights_file` returned.
        use: Takes a state dict, and raises LayoutError where it is of another model.
        choice: Only averages of the weights, or only raw ones; by default either.

    Raises:
        UserError: There is none; what `use` raises otherwise.
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
            except OTHER_SHAPES as error:
                reason = ' '.join(str(error).split())[:120]
                raise UserError(f'a tensor has another shape than in the released checkpoints ({reason}).') from error
    if choice is not None and candidates(content):
        raise UserError(
            f'no {"average of the" if choice == "ema" else "raw"} weights in this layout; drop --weights {choice}.'
        )
    raise first or CheckpointError('no state dict in this file.')


@contextmanager
def errors_name(path: str | Path) -> Iterator[None]:
    """Errors inside begin with the file that they are about."""
    try:
        yield
    except UserError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f'{path}: {error}') from error


def find_importer(peer: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    """The importer of a peer of `PEERS`, which must have these options."""
    if peer not in PEERS:
        raise UserError(f"unknown peer '{peer}'; {nearest_hint(peer, PEERS)}")
    refuse_unknown(peer, PEERS[peer], options)
    return PEERS[peer]


def refuse_unknown(peer: str, importer: Callable[..., Any], options: Mapping[str, Any]) -> None:
    known = constructor_arguments(importer) or {}
    for name in options:
        if name not in known:
            raise UserError(f"the importer of '{peer}' has no option '{name}'; drop it.")


def build_from_peer(peer: str, content: Any, **options: Any) -> Tokenizer:
    """Our tokenizer with a peer's weights, in eval mode.

    Args:
        peer: A name of `PEERS`.
        content: The peer's state dict, or whatever holds it: see `first_fit`.
        options: Of the peer's importer.
    """
    return import_from_peer(peer, content, **options)[0]


def import_from_peer(
    peer: str, content: Any, choice: Literal['ema', 'raw'] | None = None, **options: Any
) -> tuple[Tokenizer, Weights]:
    """Our tokenizer with a peer's weights, in eval mode, and where in the file they are."""
    importer = find_importer(peer, options)
    (config, renamed), weights = first_fit(content, lambda each: (importer(each.state, **options), each), choice)
    refuse_empty(renamed)
    with torch.device('meta'):
        skeleton = TOKENIZERS.build(config)
    tokenizer = skeleton.to_empty(device='cpu')
    source = f'the {peer} checkpoint'
    check_numbers(tokenizer, renamed, source)
    load_weights(tokenizer, renamed, source)
    return tokenizer.eval(), weights


def refuse_empty(state: Mapping[str, Tensor]) -> None:
    """Raise if a tensor has no elements, before a model of no channels is built."""
    for key, value in state.items():
        if not value.numel():
            raise UserError(f'the tensor {key} is empty, of shape {tuple(value.shape)}.')


def check_numbers(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Raise if a tensor is not of the kind of the module's, or has numbers that are NaN or infinite."""
    own = module.state_dict()
    other = [
        key for key, value in state.items() if key in own and own[key].is_floating_point() != value.is_floating_point()
    ]
    if other:
        raise UserError(f'{source}: {other[0]} is {state[other[0]].dtype}, expected {own[other[0]].dtype}.')
    broken = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise UserError(f'{source}: {len(broken)} tensors have numbers that are not finite, the first is {broken[0]}.')


def convert_file(
    peer: str, path: str | Path, out: str | Path, choice: Literal['ema', 'raw'] | None = None, **options: Any
) -> Tokenizer:
    """Read a peer's checkpoint and write a tokenizer folder, which says what was taken of the file; returns the tokenizer.

    Args:
        peer: A name of `PEERS`.
        path: The peer's file.
        out: The folder.
        choice: The average of the weights, or the raw ones; by default the average where there is one.
        options: What the file does not say, as arguments of the peer's importer; None is not given.

    Raises:
        UserError: An unknown peer, an option that its importer does not have, or a file in another layout.
    """
    given = {name: value for name, value in options.items() if value is not None}
    find_importer(peer, given)  # before a large file is read
    path, out = expand_home(path), expand_home(out)
    refuse_foreign_folder(Path(out), Tokenizer.saved_kind)
    with errors_name(path):
        tokenizer, weights = import_from_peer(peer, read_weights_file(path), choice, **given)
    tokenizer.save_pretrained(out, {'weights': origin(peer, path, weights)})
    return tokenizer


def origin(peer: str, path: str | Path, weights: Weights) -> str:
    """Where weights come from, as a saved folder says it."""
    return ', '.join(part for part in (f'{peer}: {Path(path).name}', weights.note()) if part)


def convert_other(
    peer: str, path: str | Path, out: str | Path, choice: Literal['ema', 'raw'] | None = None, **options: Any
) -> str:
    """Read the checkpoint of a peer of `OTHER_PEERS` and write a folder; returns a line on what was written.

    Args:
        peer: A name of `OTHER_PEERS`.
        path: The peer's file.
        out: The folder.
        choice: See `convert_file`.
        options: Of the peer's converter; None is none.

    Raises:
        UserError: An unknown peer, an option that its converter does not have, or a file in another layout.
    """
    load_plugins()
    if peer not in OTHER_PEERS:
        raise UserError(f"unknown peer '{peer}'; {nearest_hint(peer, [*PEERS, *OTHER_PEERS])}")
    module, _, name = OTHER_PEERS[peer].partition(':')
    converter = getattr(import_module(module), name)
    given = {option: value for option, value in options.items() if value is not None}
    refuse_unknown(peer, converter, given)
    with errors_name(path):
        return first_fit(
            read_weights_file(path), lambda each: converter(each.state, out, origin(peer, path, each), **given), choice
        )
