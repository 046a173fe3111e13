"""The controls for a generator's settings, derived from its `Sampling` as the command line's options are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import Any

from fvq_core.sampling_settings import SamplingSettings, expected, option_name


@dataclass(frozen=True)
class Control:
    """One control of the page.

    Args:
        name: The setting's field.
        label: What stands above it.
        help: What it does, and its values.
        kind: 'checkbox', 'choice', 'slider', 'number' or 'whole number'.
        value: Where it starts.
        low, high: Bounds of a slider.
        choices: Of a choice.
    """

    name: str
    label: str
    help: str
    kind: str
    value: Any
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


def controls(sampling: SamplingSettings) -> list[Control]:
    """The controls of settings, which start at their values."""
    return [control(each, getattr(sampling, each.name)) for each in fields(sampling)]


def control(declared: Field[Any], value: Any) -> Control:
    """The control of one setting."""
    of, kind = declared.metadata, type(declared.default)
    label = option_name(declared.name, declared).replace('_', ' ')
    help = f'{of["help"][0].upper()}{of["help"][1:]}'
    if kind is bool:
        return Control(declared.name, label, help, 'checkbox', value)
    if of['choices'] is not None:
        return Control(declared.name, label, help, 'choice', value, choices=tuple(of['choices']))
    help = f'{help}: {expected(declared)}'
    if kind is str:
        return Control(declared.name, label, help, 'text', value)
    low, high = of['least'], of['most']
    if kind is float and low is not None and high is not None and not of['also']:
        return Control(declared.name, label, help, 'slider', value, low, high)
    return Control(declared.name, label, help, 'whole number' if kind is int else 'number', value)


def given(found: list[Control], values: list[Any]) -> Mapping[str, Any]:
    """Settings from the values of controls; an emptied one is left out, and then as saved with the generator."""
    settings = {}
    for each, value in zip(found, values, strict=True):
        if value is not None:
            whole = each.kind == 'whole number' and value == int(value)
            settings[each.name] = int(value) if whole else value
    return settings
