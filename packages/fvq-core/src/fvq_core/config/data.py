"""A config as data: JSON of registered names and plain values, which can be kept, shared, and read without running code.

A config file is a program. What a run keeps of it (in checkpoints, `metrics.json` and `resolved_config.json`) is
data: no reader executes it, and components are built from it only inside `names_only`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from keyword import iskeyword
from pathlib import PurePath
from pydoc import locate
from typing import Any, TypeVar

from mmengine.config import ConfigDict

from ..errors import UserError
from ..registry import by_name, names_only
from .walk import components

RESOLVED_CONFIG = 'resolved_config.json'  # in a work dir
# JSON has no infinity and no NaN: `float('inf')` is kept as {"float": "inf"}.
NON_FINITE = 'float'
# Keys that mmengine would follow: another scope, modules to import, files to load. Data never has them, at any depth.
REFUSED_KEYS = ('_scope_', '_base_', 'custom_imports', 'load_from')
STARTED_FROM = 'started_from'
MAX_DEPTH = 64
LINE_LENGTH = 110

Built = TypeVar('Built')


def config_data(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved config as data: `plain_values`, with registered names for components.

    What a config imports is left out, and `load_from` is kept as `started_from`. Raises, naming the dotted path, for a
    value that JSON cannot hold.
    """
    values = plain_values(config)
    start = {STARTED_FROM: values['load_from']} if values.get('load_from') else {}
    return by_name(values, REFUSED_KEYS) | start


def plain_values(value: Any, path: str = '') -> Any:
    """A config in JSON's types: what can be imported as its path, tuples as lists, file paths as text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {NON_FINITE: str(value)}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise UserError(f'{path or "the config"}: keys must be text, got {key!r}; write it in quotes.')
        return {key: plain_values(entry, f'{path}.{key}' if path else key) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(entry, f'{path}.{index}') for index, entry in enumerate(value)]
    if isinstance(value, PurePath):
        return str(value)
    name = f'{getattr(value, "__module__", "")}.{getattr(value, "__qualname__", "")}'
    if callable(value) and locate(name) == value:  # not what the config itself defines, such as a lambda
        return name
    raise UserError(
        f'{path}: a {type(value).__name__} cannot be kept with a run; use numbers, text, lists, dicts, or a registered name.'
    )


def from_data(data: Any) -> Any:
    """Values as `plain_values` found them, except that tuples are lists, and classes text."""
    if isinstance(data, Mapping):
        if data.keys() == {NON_FINITE}:
            return float(data[NON_FINITE])
        return {key: from_data(value) for key, value in data.items()}
    return [from_data(value) for value in data] if isinstance(data, list) else data


def read_config_data(data: Any, source: str, remedy: str) -> ConfigDict:
    """The config from data that a run kept in the file `source`; messages name it and `remedy`, what makes it again."""
    if isinstance(data, str):
        raise UserError(f'{source} was written by FVQ 0.1, whose files hold their config as a program; {remedy}.')
    if not isinstance(data, Mapping):
        raise UserError(f'{source} carries no config; {remedy}.')
    check_data(data, source)
    try:
        return ConfigDict(from_data(data))
    except (ValueError, TypeError) as error:  # {"float": "x"}
        raise UserError(f'{source}: its config is damaged ({error}); {remedy}.') from error


def check_data(data: Any, source: str, depth: int = MAX_DEPTH) -> None:
    """Raise for an object, a key that is refused or not text, or nesting deeper than `MAX_DEPTH`."""
    if depth == 0:
        raise UserError(f'{source}: its config is nested more than {MAX_DEPTH} deep; no config of ours is.')
    if isinstance(data, Mapping):
        for key, value in data.items():
            if not isinstance(key, str):
                raise UserError(f'{source}: its config has the key {key!r}, expected text.')
            if key in REFUSED_KEYS:
                raise UserError(f"{source}: a description in a file has no '{key}'; it is not followed.")
            check_data(value, source, depth - 1)
    elif isinstance(data, list):
        for value in data:
            check_data(value, source, depth - 1)
    elif not (data is None or isinstance(data, bool | int | float | str)):
        raise UserError(f'{source}: its config holds a {type(data).__name__}, expected JSON.')


def build_data(build: Callable[[Any], Built], description: Any, source: str) -> Built:
    """Build what a file describes: registered names of the expected kind and plain values, at every depth.

    `build` is that of a registry, or a function that ends in one; `source` is the file, for messages. A `UserError`
    names it for import paths, references, unknown names or arguments, and whatever a constructor raises.
    """
    check_data(description, source)
    for _, node in components(description):
        if '.' in str(node['type']):
            raise UserError(
                f"{source}: type '{node['type']}' is an import path, which could run any code, and is not followed; "
                'register the class (docs/extending.md).'
            )
    if not isinstance(description, Mapping):
        raise UserError(f"{source}: expected a description with a 'type', got {str(description)[:60]!r}.")
    try:
        with names_only():
            return build(description)
    except UserError as error:
        raise UserError(f'{source}: {error}') from error
    except Exception as error:  # untrusted values: a constructor may raise anything
        reason = ' '.join(str(error).split()) or 'no reason given'
        raise UserError(f'{source} cannot be built ({type(error).__name__}: {reason[:200]}).') from error


def config_text(config: Mapping[str, Any]) -> str:
    """A resolved config as a Python file, for people to read and to pass to a command again.

    Components are import paths, so that unregistered ones are found too.
    """
    values = from_data(plain_values(config))
    return ''.join(f'{key} = {_literal(value, len(key) + 3)}\n' for key, value in values.items())


def _literal(value: Any, taken: int, indent: int = 0) -> str:
    """A Python expression for a plain value; on one line if it fits behind the `taken` columns, else one entry a line."""
    inner = indent + 4
    if isinstance(value, dict) and all(key.isidentifier() and not iskeyword(key) for key in value):
        entries = [f'{key}={_literal(each, inner + len(key) + 1, inner)}' for key, each in value.items()]
        start, end = 'dict(', ')'
    elif isinstance(value, dict):
        entries = [f'{key!r}: {_literal(each, inner + len(key) + 4, inner)}' for key, each in value.items()]
        start, end = '{', '}'
    elif isinstance(value, list):
        entries, start, end = [_literal(each, inner, inner) for each in value], '[', ']'
    else:
        return f"float('{value}')" if isinstance(value, float) and not math.isfinite(value) else repr(value)
    line = f'{start}{", ".join(entries)}{end}'
    if taken + len(line) <= LINE_LENGTH and '\n' not in line:
        return line
    lines = ''.join(f'{" " * inner}{entry},\n' for entry in entries)
    return f'{start}\n{lines}{" " * indent}{end}'
