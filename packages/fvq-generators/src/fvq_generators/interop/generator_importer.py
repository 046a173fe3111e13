"""What importers of generators share: the folder that they write, and sizes read off a state dict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.interop.importer import Importer
from fvq_core.interop.key_map import Rules
from fvq_core.registry import describe

from ..pretrained import GENERATOR, save_generator


class GeneratorImporter(Importer):
    """A layout of generators."""

    kind = GENERATOR

    @classmethod
    def save(cls, model: Generator, folder: Path, facts: Mapping[str, Any]) -> None:
        save_generator(model, model.state_dict(), folder, sampling=cls.sampling(model), extra=facts)

    @staticmethod
    def sampling(model: Generator) -> dict[str, Any]:
        """Settings of sampling to save with it: those of the release, if they are not the defaults."""
        return {}

    @staticmethod
    def summary(model: Generator) -> str:
        parameters = sum(parameter.numel() for parameter in model.parameters())
        return f'{type(model).__name__} with {parameters / 1e6:.0f} M parameters, {describe(model)["layout"]}'


def timm_rules(theirs: str, ours: str) -> Rules:
    """Blocks of timm's vision transformer, `theirs.N`, as ours, `ours.N`."""
    names = {
        'norm1': 'attention_norm',
        'attn.qkv': 'attention.qkv',
        'attn.proj': 'attention.out',
        'norm2': 'ffn_norm',
        'mlp.fc1': 'ffn.inner',
        'mlp.fc2': 'ffn.outer',
    }
    return tuple(
        (rf'{theirs}\.(\d+)\.{re.escape(name)}\.(weight|bias)', rf'{ours}.\1.{own}.\2') for name, own in names.items()
    )


def depth_of(keys: Iterable[str], prefix: str) -> int:
    """Blocks of a state dict whose keys start with `prefix` and a number."""
    return 1 + max(int(match[1]) for key in keys if (match := re.match(rf'{re.escape(prefix)}\.(\d+)\.', key)))


def heads_of(owner: str, dim: int, heads: int | None, published: Mapping[int, int]) -> int:
    """The heads that a caller gives, or those of the published size with so many channels; no shape in a file tells them."""
    heads = heads if heads is not None else published.get(dim)
    if heads is None or heads < 1 or dim % heads:
        got = 'none of the published sizes has so many' if heads is None else f'got {heads}'
        raise UserError(f'{owner}: no file says how many heads {dim} channels have; {got}; give a divisor (--heads).')
    return heads
