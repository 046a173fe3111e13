"""Walks over nested configs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from mmengine.config import ConfigDict


def components(node: Any, path: str = '') -> Iterator[tuple[str, ConfigDict]]:
    """Every dict with a `type` below a node, outermost first, with its dotted path."""
    if isinstance(node, Mapping):
        if 'type' in node:
            yield path, cast(ConfigDict, node)
        for key in node:
            yield from components(node[key], f'{path}.{key}' if path else str(key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from components(value, f'{path}.{index}')


def leaves(node: Any, path: str = '') -> dict[str, Any]:
    """Everything that is neither a dict nor a list with entries, by dotted path; an empty list is a value of its own."""
    listed = isinstance(node, list) and node
    children: Any = node.items() if isinstance(node, Mapping) else enumerate(node) if listed else None
    if children is None:
        return {path: node}
    found: dict[str, Any] = {}
    for key, value in children:
        found |= leaves(value, f'{path}.{key}' if path else str(key))
    return found
