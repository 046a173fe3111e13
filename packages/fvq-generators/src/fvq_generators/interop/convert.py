"""Our generator with a peer's weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fvq_core.errors import UserError, nearest_hint
from fvq_core.generator import Generator
from fvq_core.interop.convert import check_numbers, first_fit, refuse_empty
from fvq_core.registry import GENERATORS, constructor_arguments, describe
from fvq_core.saving.weights import load_weights

from ..pretrained import save_generator
from . import PEERS


def build_from_peer(peer: str, content: Any, **options: Any) -> Generator:
    """Our generator with a peer's weights, in eval mode.

    Args:
        peer: A name of `PEERS`.
        content: The peer's state dict, or whatever holds it: see `first_fit`.
        options: Of the peer's importer.

    Raises:
        UserError: An unknown peer, an option that its importer does not have, or a file in another layout.
    """
    if peer not in PEERS:
        raise UserError(f"unknown peer '{peer}'; {nearest_hint(peer, PEERS)}")
    known = constructor_arguments(PEERS[peer]) or {}
    for name in options:
        if name not in known:
            raise UserError(f"the importer of '{peer}' has no option '{name}'; {nearest_hint(name, known)}")
    config, renamed = first_fit(content, lambda weights: PEERS[peer](weights.state, **options))
    refuse_empty(renamed)
    with torch.device('meta'):
        skeleton = GENERATORS.build(config)
    generator = skeleton.to_empty(device='cpu')
    source = f'the {peer} checkpoint'
    check_numbers(generator, renamed, source)
    load_weights(generator, renamed, source)
    return generator.eval()


def convert_llamagen(
    state: Mapping[str, Tensor],
    out: str | Path,
    weights: str,
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
) -> str:
    """Write LlamaGen's generator as a folder of ours; `tools/convert.py llamagen-gpt` calls it.

    Args:
        state: The peer's state dict.
        out: The folder.
        weights: Where they come from, in words.
        heads: See `import_generator`.
        grid: See `import_generator`.

    Returns:
        What was written, in a line.
    """
    given = {name: value for name, value in dict(heads=heads, grid=grid).items() if value is not None}
    generator = build_from_peer('llamagen', state, **given)
    save_generator(describe(generator), generator.state_dict(), out, extra={'weights': weights})
    parameters = sum(parameter.numel() for parameter in generator.parameters())
    return (
        f'{out}: {type(generator).__name__} with {parameters / 1e6:.0f} M parameters, {describe(generator)["layout"]}, '
        f'from {weights}'
    )
