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
from ..registry.argument_types import check


def use_size(cfg: Config, size: str | None, path: str) -> None:
    """Apply one of a config's `sizes`, and remove the table: no run keeps it.

    The name is kept as `size`, unless the size is the config as it stands. Raises if the config has no such size, or
    its quantizer none of the arguments.
    """
    sizes = cfg.pop('sizes', {})
    check(sizes, Mapping, 'sizes')
    if size is None:
        return
    if not sizes:
        raise UserError(f"config {path} declares no sizes; leave out --size, or set the codebook's with --cfg-options.")
    if not isinstance(size, str) or size not in sizes:  # a file of another's run may hold anything
        raise UserError(f"config {path} has no size '{size}'; {nearest_hint(str(size), sizes)}")
    check(sizes[size], Mapping, f'sizes.{size}')
    if not sizes[size]:
        return
    quantizer = (cfg.model.get('tokenizer') or {}).get('quantizer')
    if not set_arguments(quantizer, sizes[size]):
        raise UserError(f"config {path}: its quantizer has no {' or '.join(sizes[size])} for size '{size}' to set.")
    cfg.size = size


def set_arguments(node: Any, values: Mapping[str, Any]) -> int:
    """Replace arguments, wherever a description already has them, in place; returns how many."""
    if isinstance(node, list | tuple):
        return sum(set_arguments(child, values) for child in node)
    if not isinstance(node, dict):
        return 0
    found = {key: value for key, value in values.items() if key in node}
    node.update(found)
    return len(found) + sum(set_arguments(child, values) for child in node.values())


def is_sized_path(path: Path) -> bool:
    """Whether a path, or pattern, that does not exist is `FOLDER/kN/NAME.py`, and `FOLDER/NAME.py` exists."""
    return bool(re.fullmatch(r'k\d+', path.parent.name)) and any(path.parent.parent.glob(path.name))
