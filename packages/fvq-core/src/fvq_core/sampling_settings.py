"""The settings a generator samples with: declared once, as fields of a dataclass, and read by everyone else.

The options and `--help` of `tools/sample.py`, the saved `sampling` and its checks, and the model card all come from it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from inspect import get_annotations
from typing import Any, Self, TypeVar

from .errors import UserError, nearest_hint, shortened

Part = TypeVar('Part', bound='SamplingSettings')
KINDS: dict[type, str] = {bool: 'true or false', int: 'a whole number', float: 'a finite number', str: 'text'}

# Options of `tools/sample.py` and arguments of `sample` methods, which no setting may be called.
RESERVED = frozenset(
    [
        *('help', 'generator', 'tokenizer', 'out', 'num', 'classes', 'captions', 'from', 'pictures', 'keep', 'seed'),
        *('npz', 'images', 'batch_size', 'order_file'),
        *('compile', 'precision', 'device', 'weights', 'launcher'),
        *('cond', 'rng', 'seeds', 'caption_mask_BT', 'given', 'keep_BL', 'order_BL', 'pick'),
    ]
)


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
        default: Value of type bool, int, float or str, which becomes the setting's type.
        help: What it does, for `tools/sample.py --help`: a phrase without a full stop.
        least: Smallest value.
        above: Bound below all values.
        most: Largest value.
        also: Values outside these bounds.
        choices: The values of a text.
        flag: Its option of `tools/sample.py`, such as `--cfg`; by default the field's name with hyphens.
    """
    bounds = dict(least=least, above=above, most=most, also=also, choices=choices and tuple(choices))
    return field(default=default, metadata=dict(bounds, help=help, flag=flag))


@dataclass(frozen=True)
class SamplingSettings:
    """How a generator draws. Each field is declared with `setting`; generators share settings by inheriting them."""

    def __init_subclass__(cls) -> None:
        for name, kind in get_annotations(cls).items():
            declared = cls.__dict__.get(name)
            if not str(kind).startswith('ClassVar') and not (
                isinstance(declared, Field) and 'help' in declared.metadata
            ):
                raise UserError(f"{cls.__name__}: declare '{name}' with setting(default, help).")
            if isinstance(declared, Field) and RESERVED & {name, option_name(name, declared)}:
                raise UserError(
                    f"{cls.__qualname__}: '{name}' is an option or argument of sampling itself; rename the setting."
                )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not fits(each, value):
                choices = each.metadata['choices']
                hint = f'; {nearest_hint(str(value), choices)}' if choices else '.'
                raise UserError(f'sampling: {each.name} must be {expected(each)}, got {value!r}{hint}')

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Settings by name, the others at their defaults; raises for an unknown name, or a value out of range."""
        for name in given:
            cls._check_name(name, f'sampling: {cls.__qualname__} has no setting')
        return cls(**given)

    @classmethod
    def check(cls, given: Mapping[str, Any], where: str) -> None:
        """Raise if the settings found in a file or a config are not valid; `where` names it in messages."""
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
    kind = ' '.join([KINDS[type(declared.default)], ' and '.join(bounds)]).rstrip()
    return ', or '.join([*(f'{value:g}' for value in of['also']), kind])


def option_name(name: str, declared: Field[Any]) -> str:
    """The name under which the option of a field that has no name yet is parsed."""
    return (declared.metadata['flag'] or name).lstrip('-').replace('-', '_')
