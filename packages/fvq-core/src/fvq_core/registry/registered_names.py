"""Configs that are saved and shared name registered components, never import paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import registry


def by_name(config: Any) -> Any:
    """A config with import paths of registered components, as lazy configs write them, replaced by their names."""
    if isinstance(config, Mapping):
        named = {key: by_name(value) for key, value in config.items()}
        return {**named, 'type': registered_name(str(config['type']))} if 'type' in config else named
    return [by_name(entry) for entry in config] if isinstance(config, list) else config


def registered_name(path: str) -> str:
    """The name of the registered component that a path leads to, possibly through a package above it; else the path."""
    package, _, last = path.rpartition('.')
    if not package:
        return path
    if package == registry.SCOPE:
        return last
    for kind in registry.all_registries():
        for name, component in kind.known().items():
            if getattr(component, '__name__', '') == last and f'{component.__module__}.'.startswith(f'{package}.'):
                return name
    return path
