"""Overrides of a config from the command line: `--cfg-options KEY=VALUE`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config, ConfigDict

from ..errors import UserError, nearest_hint
from ..registry import constructor_arguments, find_component
from .schema import LOADER, TOP_LEVEL, builder_keys


def apply_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Apply overrides in place: of a `type` first, outermost first, so that the others may be arguments of the new type."""
    types = sorted((key for key in options if key.rpartition('.')[2] == 'type'), key=lambda key: key.count('.'))
    others = [key for key in options if key not in types]
    for key in types:
        check_option(cfg, key)
        set_option(cfg, key, options[key])
    for key in others:
        check_option(cfg, key)
    for key in others:
        set_option(cfg, key, options[key])


def set_option(cfg: Config, dotted: str, value: Any) -> None:
    """Set the entry at a dotted path. A dict is merged into an existing dict; anything else replaces what is there.

    On the way, entries that are None become dicts.
    """
    node: Any = cfg._cfg_dict
    *parents, last = dotted.split('.')
    for part in parents:
        key: Any = int(part) if isinstance(node, list) else part
        inside = node[key] if isinstance(node, list) else node.get(key)
        if inside is None or isinstance(inside, tuple):
            node[key] = ConfigDict() if inside is None else list(inside)
            inside = node[key]
        node = inside
    key = int(last) if isinstance(node, list) else last
    if isinstance(value, Mapping) and not isinstance(node, list) and isinstance(node.get(key), dict):
        cfg.merge_from_dict({dotted: value})
    else:
        node[key] = ConfigDict(value) if isinstance(value, Mapping) else value


def check_option(cfg: Config, dotted: str) -> None:
    """Raise if the path of an override neither exists nor names an argument that its component takes."""
    node: Any = cfg._cfg_dict
    walked: list[str] = []
    for part in dotted.split('.'):
        if node is None:  # an argument that the config leaves at its default; `check_arguments` sees its new value
            return
        where = '.'.join(walked) or 'the config'
        if isinstance(node, list | tuple):
            if not part.isdigit() or int(part) >= len(node):
                raise UserError(
                    f"--cfg-options {dotted}: {where} is a list of {len(node)}; '{part}' is not an index of it."
                )
            node = node[int(part)]
        elif isinstance(node, Mapping):
            if walked and 'type' in node and find_component(node['type']) is None:
                return  # whatever builds it names the nearest type; its arguments are unknown
            valid = valid_keys(node, top=not walked)
            if part not in valid:
                raise UserError(f"--cfg-options {dotted}: {where} has no '{part}'; {nearest_hint(part, valid)}")
            node = node.get(part)
        else:
            raise UserError(f'--cfg-options {dotted}: {where} is {node!r} and has nothing inside.')
        walked.append(part)


def valid_keys(node: Mapping[str, Any], top: bool) -> set[str]:
    """The keys of a config node, and those that its component's constructor, a data loader or a run takes besides."""
    keys = set(node)
    if top:
        keys |= TOP_LEVEL.keys()
    elif 'dataset' in node:
        keys |= LOADER.keys()
    elif 'type' in node:
        component = find_component(node['type'])
        keys |= set(constructor_arguments(component) or {}) | builder_keys(component)
    return keys
