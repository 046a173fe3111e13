"""The options of `tools/sample.py` that come from the settings of generators."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any

from fvq_core.sampling_settings import SamplingSettings, expected

SAVED_FIRST = 'Default: the value saved with the generator, else the default stated here.'
METAVARS: dict[type, str] = {int: 'N', float: 'X', str: 'TEXT'}


def add_settings(parser: ArgumentParser, generators: Mapping[str, type[SamplingSettings]]) -> None:
    """The options of generators, in groups of those that the same generators have; a parsed one is None if not given.

    If generators mean different things by one option, its help says what each means, and its value is text if their types
    differ: parse again with only the settings of the generator that is used.

    Args:
        parser: Parser of a command.
        generators: Each generator's settings, by its name.
    """
    declared: dict[str, dict[str, Field[Any]]] = {}  # by option, then by generator
    for name, settings in generators.items():
        for each in fields(settings):
            declared.setdefault(option(each), {})[name] = each
    groups: dict[str, Any] = {}
    for flag, by_generator in declared.items():
        each, names = next(iter(by_generator.values())), ' and '.join(by_generator)
        kinds = {type(other.default) for other in by_generator.values()}
        kind, choices = kinds.pop() if len(kinds) == 1 else str, each.metadata['choices']
        if names not in groups:
            groups[names] = parser.add_argument_group(f'settings of {names}', SAVED_FIRST)
        texts = {name: described(other) for name, other in by_generator.items()}
        same = len(set(texts.values())) == 1
        help = texts.popitem()[1] if same else '; '.join(f'{name}: {text}' for name, text in texts.items())
        metavar = '{' + ','.join(choices) + '}' if choices and same else METAVARS.get(kind)
        how: dict[str, Any] = dict(action=BooleanOptionalAction) if kind is bool else dict(type=kind, metavar=metavar)
        groups[names].add_argument(flag, dest=each.name, default=None, help=help.replace('%', '%%'), **how)


def described(declared: Field[Any]) -> str:
    """What a setting does, its values and its default, for the help of an option."""
    values = '' if declared.metadata['choices'] or type(declared.default) is bool else f'{expected(declared)}; '
    return f'{declared.metadata["help"]} ({values}default {declared.default})'


def option(declared: Field[Any]) -> str:
    """A setting's option of `tools/sample.py`."""
    return declared.metadata['flag'] or f'--{declared.name.replace("_", "-")}'
