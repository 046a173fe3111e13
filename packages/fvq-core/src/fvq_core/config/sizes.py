"""Sizes: one config file, several codebook sizes.

A config may declare `sizes`: for each name, arguments of the quantizer. They are set wherever the quantizer or a part of it has
them, at any depth, so that one table serves a codebook, a bridge, and a codebook inside a residual quantizer:

    sizes = dict(k1024={}, k4096=dict(codebook_size=4096, patch_size=4))

A size without arguments is the config as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import UserError, nearest_hint


def use_size(cfg: Config, size: str | None, path: str) -> None:
    """Apply one of a config's `sizes`, and remove the table: no run keeps it.

    The name is kept as `size`, unless the size is the config as it stands.

    Args:
        cfg: Changed in place.
        size: A name in `sizes`; None applies none.
        path: Of the config, for messages.

    Raises:
        UserError: The config has no such size.
    """
    sizes = cfg.pop('sizes', {})
    if size is None:
        return
    if not sizes:
        raise UserError(f"config {path} declares no sizes; leave out --size, or set the codebook's with --cfg-options.")
    if not isinstance(size, str) or size not in sizes:  # a file of another's run may hold anything
        raise UserError(f"config {path} has no size '{size}'; {nearest_hint(str(size), sizes)}")
    if sizes[size]:
        cfg.size = size
        set_arguments(cfg.model['tokenizer']['quantizer'], sizes[size])


def set_arguments(node: Any, values: Mapping[str, Any]) -> None:
    """Replace arguments, wherever a description already has them, in place."""
    if isinstance(node, dict):
        node.update({key: value for key, value in values.items() if key in node})
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ():
        set_arguments(child, values)


def is_sized_path(path: Path) -> bool:
    """Whether a path, or pattern, that does not exist is `FOLDER/kN/NAME.py`, and `FOLDER/NAME.py` exists."""
    return bool(re.fullmatch(r'k\d+', path.parent.name)) and any(path.parent.parent.glob(path.name))
