"""From a peer's file to a tokenizer folder of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import UserError, nearest_hint
from ..pretrained import load_weights
from ..registry import TOKENIZERS, constructor_arguments, load_plugins
from ..runner.checkpoint import CheckpointError, load_tensors
from ..tokenizer import Tokenizer
from . import OTHER_PEERS, PEERS

# Where the training scripts of the peers put the tokenizer's weights, EMA first.
CONTAINERS = ('ema', 'state_dict_ema', 'model', 'state_dict')


def read_peer_state(path: str | Path) -> dict[str, Tensor]:
    """The state dict inside a peer's file, read without running any code of it."""
    if str(path).endswith('.safetensors'):
        try:
            content: Any = load_file(path)
        except Exception as error:  # safetensors raises its own, OSError and ValueError
            raise CheckpointError(f'{path} cannot be read as safetensors: {error}') from error
    else:
        content = load_tensors(path)
    for container in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
            content = content[container]
            break
    tensors = (
        {key: value for key, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise CheckpointError(f'{path} holds no state dict.')
    return {key.removeprefix('module.'): value for key, value in tensors.items()}


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


def build_from_peer(peer: str, state: Mapping[str, Tensor], **options: Any) -> Tokenizer:
    """Our tokenizer with a peer's weights, in eval mode.

    Args:
        peer: A name of `PEERS`.
        state: The peer's state dict.
        options: Of the peer's importer.
    """
    config, renamed = find_importer(peer, options)(state, **options)
    with torch.device('meta'):
        skeleton = TOKENIZERS.build(config)
    tokenizer = skeleton.to_empty(device='cpu')
    load_weights(tokenizer, renamed, f'the {peer} checkpoint')
    return tokenizer.eval()


def convert_file(peer: str, path: str | Path, out: str | Path, **options: Any) -> Tokenizer:
    """Read a peer's checkpoint and write a tokenizer folder; returns the tokenizer.

    Args:
        peer: A name of `PEERS`.
        path: The peer's file.
        out: The folder.
        options: What the file does not say, as arguments of the peer's importer; None is not given.

    Raises:
        UserError: An unknown peer, an option that its importer does not have, or a file in another layout.
    """
    given = {name: value for name, value in options.items() if value is not None}
    find_importer(peer, given)  # before a large file is read
    tokenizer = build_from_peer(peer, read_peer_state(path), **given)
    tokenizer.save_pretrained(out, {'weights': f'{peer}: {Path(path).name}'})
    return tokenizer


def convert_other(peer: str, path: str | Path, out: str | Path, **options: Any) -> str:
    """Read the checkpoint of a peer of `OTHER_PEERS` and write a folder; returns a line on what was written.

    Args:
        peer: A name of `OTHER_PEERS`.
        path: The peer's file.
        out: The folder.
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
    return converter(read_peer_state(path), out, f'{peer}: {Path(path).name}', **given)
