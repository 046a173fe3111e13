"""Whether the values of a config are of the types that constructors declare."""

from __future__ import annotations

import collections.abc
import inspect
import sys
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import PurePath
from typing import Any, Literal, Union

from ..errors import UserError, nearest_hint

PLAIN = (bool, int, float, str, bytes, list, tuple, Mapping, type(None))
PLURALS = {int: 'whole numbers', float: 'numbers', str: 'texts', Mapping: 'dicts'}
NAMES = {int: 'a whole number', float: 'a number', str: 'text'}
NAMES |= {bool: 'True or False', type(None): 'None', type: 'a class'}
SEQUENCES = (list, tuple, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)


def check_types(component: Any, arguments: Mapping[str, Any], path: str) -> None:
    """Raise if a value is not of the type that a class or function declares for it.

    Only plain values are judged (numbers, text, lists, dicts), and only by types that say what they may be; the default is
    always right, and arguments that it does not take are passed over. mmengine's declarations are not exact enough to go by.
    `path` is that of the component in the config, for the message.
    """
    if getattr(component, '__module__', '').partition('.')[0] == 'mmengine':
        return
    for name, (hint, default) in declared(component).items():
        if name in arguments:
            value = arguments[name]
            if not (type(value) is type(default) and value == default):
                check(value, hint, f'{path}.{name}' if path else name)


def check(value: Any, hint: Any, path: str) -> None:
    """Raise if a value is not of a type, naming its dotted path, what was expected and what came."""
    if not fits(value, hint):
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f'{shown[:57]}...'
        options = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
        near = f'; {nearest_hint(value, map(str, options))}' if options and isinstance(value, str) else '.'
        raise UserError(f'{path}: expected {wording(hint)}, got {shown}{near}')


def check_sizes(owner: str, **sizes: Any) -> None:
    """Raise if a size of `owner`, or one of a list of sizes, is below 1, or if the list is empty."""
    for name, value in sizes.items():
        listed = [value] if isinstance(value, int) else list(value)
        if not listed or min(listed) < 1:
            raise UserError(f'{owner}: {name} must be 1 or more, got {value if isinstance(value, int) else listed}.')


@cache
def declared(component: Any) -> dict[str, tuple[Any, Any]]:
    """The type and the default of each argument that has a type we can resolve."""
    try:
        parameters = inspect.signature(component).parameters
    except (TypeError, ValueError):
        return {}
    module = vars(sys.modules.get(component.__module__, typing))
    found = {}
    for name, parameter in parameters.items():
        if parameter.annotation is not parameter.empty:
            holder = types.SimpleNamespace(__annotations__={name: parameter.annotation})
            try:
                hint = typing.get_type_hints(holder, module)[name]
            except (NameError, TypeError, AttributeError, SyntaxError):
                continue  # a name that is imported for type checkers only
            found[name] = hint, parameter.default
    return found


def fits(value: Any, hint: Any) -> bool:
    """Whether a value may be of a type; True for types that say nothing of plain values."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in arguments)
    if hint is Any or not isinstance(value, PLAIN):
        return True  # something built, a class, a tensor
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in arguments)
    if hint in (int, float):
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    if hint in (bool, str, type(None), type):
        return isinstance(value, hint)
    kind = origin or hint
    if not isinstance(kind, type):
        return True
    if issubclass(kind, collections.abc.Mapping):
        return isinstance(value, Mapping)
    if kind is tuple and arguments and Ellipsis not in arguments:
        return isinstance(value, list | tuple) and len(value) == len(arguments) and all(map(fits, value, arguments))
    if kind in SEQUENCES:
        return isinstance(value, list | tuple) and all(fits(each, arguments[0]) for each in value if arguments)
    if kind is object or kind is collections.abc.Callable:
        return True
    # A component is described by a dict, a path by text; no other class has a plain value that stands for it.
    return isinstance(value, str if issubclass(kind, PurePath) else Mapping)


def wording(hint: Any) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        parts = list(dict.fromkeys(wording(each) for each in arguments))
        return f'{", ".join(parts[:-1])} or {parts[-1]}' if len(parts) > 1 else parts[0]
    if origin is Literal:
        return ' or '.join(map(repr, arguments))
    if hint in NAMES:
        return NAMES[hint]
    kind = origin or hint
    if isinstance(kind, type) and issubclass(kind, collections.abc.Mapping):
        return 'a dict'
    if kind is tuple and arguments and Ellipsis not in arguments:
        return f'{len(arguments)} values ({", ".join(map(wording, arguments))})'
    if kind in SEQUENCES:
        plural = PLURALS.get(arguments[0]) if arguments else None
        return f'a list of {plural}' if plural else 'a list'
    return 'Any' if hint is Any else f'a {getattr(kind, "__name__", kind)}'
