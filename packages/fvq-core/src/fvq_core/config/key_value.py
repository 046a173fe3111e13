"""KEY=VALUE options of a command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

BRACKETS = {'(': ')', '[': ']'}


class KeyValueAction(argparse.Action):
    """Collects KEY=VALUE arguments in a dict, split at the first =.

    Replaces mmengine's `DictAction`, which removes spaces from values and turns a path with a comma into a list.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        options = dict(getattr(namespace, self.dest, None) or {})
        for argument in [values] if isinstance(values, str) else values or ():
            key, equals, value = argument.partition('=')
            if not key or not equals:
                parser.error(f"argument {option_string}: expected KEY=VALUE, got '{argument}'")
            options[key] = parse_value(value)
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> Any:
    """A number, `True`, `False`, `None`, a list, a tuple, or the text as it is.

    Lists are `[a, b]`, tuples `(a, b)`, possibly nested; numbers with commas, `0.9,0.95`, are a list too, text with
    commas is not. Values in quotes are text.
    """
    stripped = text.strip()
    if len(stripped) > 1 and stripped[0] in '\'"' and stripped.find(stripped[0], 1) == len(stripped) - 1:
        return stripped[1:-1]
    if BRACKETS.get(stripped[:1]) == stripped[-1:] and stripped:
        values = [parse_value(part) for part in split_at_commas(stripped[1:-1])]
        return tuple(values) if stripped[0] == '(' else values
    parts = split_at_commas(text)
    if parts not in ([], [text]):
        values = [parse_value(part) for part in parts]
        return text if any(isinstance(value, str) for value in values) else values
    for number in (int, float):
        with suppress(ValueError):
            return number(stripped)
    return {'true': True, 'false': False}.get(stripped.lower(), None if stripped == 'None' else text)


def split_at_commas(text: str) -> list[str]:
    """The parts between the commas that are neither in brackets nor in quotes; a comma at the end adds none."""
    parts, open_brackets, quote = [''], 0, ''
    for letter in text:
        if quote:
            quote = '' if letter == quote else quote
        elif letter in '\'"':
            quote = letter
        elif letter in '([':
            open_brackets += 1
        elif letter in ')]':
            open_brackets -= 1
        if letter == ',' and not quote and not open_brackets:
            parts.append('')
        else:
            parts[-1] += letter
    return parts if parts[-1].strip() else parts[:-1]
