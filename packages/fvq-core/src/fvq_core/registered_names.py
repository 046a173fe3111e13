"""Configs that are saved and shared name registered components, never import paths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import registry
from .errors import UserError


def by_name(config: Any) -> Any:
    """A config with import paths of registered components, as lazy configs write them, replaced by their names."""
    if isinstance(config, Mapping):
        named = {key: by_name(value) for key, value in config.items()}
        return {**named, 'type': registered_name(str(config['type']))} if 'type' in config else named
    return [by_name(entry) for entry in config] if isinstance(config, list) else config


def registered_name(path: str) -> str:
    """The name of the registered component that a path leads to, possibly through a package above it; else the path."""
    registry.load_plugins()
    package, _, last = path.rpartition('.')
    for kind in vars(registry).values():
        if isinstance(kind, registry.Registry):
            for name, component in kind.module_dict.items():
                if getattr(component, '__name__', '') == last and f'{component.__module__}.'.startswith(f'{package}.'):
                    return name
    return path


def refuse_import_paths(config: Any, path: Path) -> None:
    """A config from elsewhere names registered components alone: `type='os.system'` would run whatever it likes.

    Raises:
        UserError: A type with a dot in it, beyond our own scope.
    """
    if isinstance(config, Mapping):
        name = str(config.get('type', ''))
        if '.' in name.removeprefix(f'{registry.SCOPE}.'):
            raise UserError(
                f"{path}: type '{name}' is an import path, which could run any code, and is not followed; "
                'register the class (docs/extending.md).'
            )
        config = list(config.values())
    if isinstance(config, list):
        for entry in config:
            refuse_import_paths(entry, path)
