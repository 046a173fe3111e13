"""The settings a generator samples with: declared once, as fields of a dataclass, and read by everyone else.

The options and `--help` of `tools/sample.py`, the saved `sampling` and its checks, and the model card all come from it.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, Self, TypeVar

from .errors import UserError, nearest_hint, shortened

Part = TypeVar('Part', bound='SamplingSettings')
SAVED_FIRST = 'What is not given is as saved with the generator, or else the default.'
METAVARS: dict[type, str] = {int: 'N', float: 'X', str: 'TEXT'}
KINDS: dict[type, str] = {bool: 'true or false', int: 'a whole number', float: 'a finite number', str: 'text'}


def setting(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    also: Sequence[float] = (),
    choices: Iterable[str] | None = None,
    flag: str | None = None,
) -> Any:
    """A field of a `SamplingSettings`.

    Args:
        default: Of type bool, int, float or str, which becomes the setting's type.
        help: What it does, for `tools/sample.py --help`: a phrase without a full stop.
        least: Smallest value.
        above: Bound below all values.
        most: Largest value.
        also: Values outside these bounds.
        choices: The values of a text.
        flag: Its option of `tools/sample.py`, such as `--cfg`; by default the field's name with hyphens.
    """
    known = None if choices is None else tuple(choices)
    metadata = dict(help=help, least=least, above=above, most=most, also=tuple(also), choices=known, flag=flag)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class SamplingSettings:
    """How a generator draws. Each field is declared with `setting`; generators share settings by inheriting them.

    Raises:
        UserError: A value of another type or out of range.
    """

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not fits(each, value):
                choices = each.metadata['choices']
                hint = f'; {nearest_hint(str(value), choices)}' if choices else '.'
                raise UserError(f'sampling: {each.name} must be {expected(each)}, got {value!r}{hint}')

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Settings by name, the others at their defaults.

        Raises:
            UserError: An unknown name, or a value of another type or out of range.
        """
        for name in given:
            cls._check_name(name, f'sampling: {cls.__qualname__} has no setting')
        return cls(**given)

    @classmethod
    def check(cls, given: Mapping[str, Any], where: str) -> None:
        """Check settings that stand in a file or a config.

        Args:
            given: As found there.
            where: The file, for messages.

        Raises:
            UserError: Naming file, key and value.
        """
        declared = {each.name: each for each in fields(cls)}
        for name, value in given.items():
            cls._check_name(name, f"{where}: 'sampling' has an unknown setting")
            if not fits(declared[name], value):
                found, wanted = shortened(value), expected(declared[name])
                raise UserError(f"{where}: 'sampling.{name}' is {found}, expected {wanted}.")

    @classmethod
    def _check_name(cls, name: str, message: str) -> None:
        names = [each.name for each in fields(cls)]
        if name not in names:
            raise UserError(f"{message} '{name}'; {nearest_hint(str(name), names)}")

    def to_dict(self) -> dict[str, Any]:
        """Every setting, JSON-ready."""
        return asdict(self)

    def part(self, kind: type[Part]) -> Part:
        """Those settings that a class declares, as that class."""
        return kind(**{each.name: getattr(self, each.name) for each in fields(kind)})


def fits(declared: Field[Any], value: Any) -> bool:
    """Whether a value is of the setting's type and in its range."""
    kind, of = type(declared.default), declared.metadata
    if kind is bool or kind is str:
        return isinstance(value, kind) and (of['choices'] is None or value in of['choices'])
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        return False
    if value in of['also']:
        return True
    if not abs(value) <= sys.float_info.max:
        return False
    low = (of['least'] is None or value >= of['least']) and (of['above'] is None or value > of['above'])
    return low and (of['most'] is None or value <= of['most'])


def expected(declared: Field[Any]) -> str:
    """A setting's type and range in words."""
    of = declared.metadata
    if of['choices'] is not None:
        return f'one of {", ".join(of["choices"])}'
    bounds = [
        f'{word} {of[bound]:g}'
        for bound, word in (('least', 'from'), ('above', 'above'), ('most', 'up to'))
        if of[bound] is not None
    ]
    return ', or '.join(
        [*(f'{value:g}' for value in of['also']), f'{KINDS[type(declared.default)]} {" and ".join(bounds)}'.rstrip()]
    )


def option(declared: Field[Any]) -> str:
    """A setting's option of `tools/sample.py`."""
    return declared.metadata['flag'] or f'--{declared.name.replace("_", "-")}'


def add_settings(parser: ArgumentParser, generators: Mapping[str, type[SamplingSettings]]) -> None:
    """The options of generators, in groups of those that the same generators have; a parsed one is None if not given.

    Args:
        parser: Of a command line.
        generators: Each generator's settings, by its name.
    """
    owners: dict[str, list[str]] = {}
    declared: dict[str, Field[Any]] = {}
    for name, settings in generators.items():
        for each in fields(settings):
            owners.setdefault(option(each), []).append(name)
            declared.setdefault(option(each), each)
    groups: dict[tuple[str, ...], Any] = {}
    for flag, names in owners.items():
        key = tuple(names)
        if key not in groups:
            groups[key] = parser.add_argument_group(f'settings of {" and ".join(names)}', SAVED_FIRST)
        each = declared[flag]
        kind, choices = type(each.default), each.metadata['choices']
        values = '' if choices or kind is bool else f'{expected(each)}; '
        help = f'{each.metadata["help"]} ({values}default {each.default})'
        if kind is bool:
            groups[key].add_argument(flag, dest=each.name, action=BooleanOptionalAction, default=None, help=help)
        else:
            metavar = '{' + ','.join(choices) + '}' if choices else METAVARS[kind]
            groups[key].add_argument(flag, dest=each.name, type=kind, metavar=metavar, help=help.replace('%', '%%'))
