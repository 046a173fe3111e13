"""Codes by the folder they are in, whoever wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fvq_core.errors import UserError

from .layouts import any_layout_from_dict
from .llamagen_folder import LlamaGenFolder, find_pair
from .manifest import MANIFEST_NAME
from .reader import CodesReader
from .store import CodesStore


def open_codes(root: str | Path, layout: Mapping[str, Any] | None = None, tokenizer_hash: str = '') -> CodesReader:
    """A reader for a folder: a store of ours, or LlamaGen's per-image files.

    Args:
        root: The folder.
        layout: Layout of LlamaGen's files, which do not hold it; a store must agree with it.
        tokenizer_hash: Likewise.

    Raises:
        UserError: Neither, or something is wrong with it.
    """
    if not (Path(root) / MANIFEST_NAME).exists() and find_pair(Path(root)) is not None:
        if layout is None:
            raise UserError(
                f'{root} holds per-image .npy files, which do not tell how codes are arranged; add layout=dict(type="Grid", '
                'height=16, width=16, codebook_size=16384), with the numbers of the tokenizer.'
            )
        return LlamaGenFolder(root, layout, tokenizer_hash)
    store = CodesStore(root)
    if layout is not None and any_layout_from_dict(dict(layout)) != store.layout:
        raise UserError(f'{root} holds codes of layout {store.layout}, not {dict(layout)}; leave layout out.')
    if tokenizer_hash:
        store.check_tokenizer(tokenizer_hash)
    return store
