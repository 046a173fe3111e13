"""Dataclasses that print every field, and compare field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

NOT_CONVENTIONS = ('name', 'source')  # fields that tell two protocols apart and move no number


@dataclass(frozen=True)
class ProtocolFacts:
    """A base of frozen dataclasses with a `name`, which print every field."""

    def to_dict(self) -> dict[str, Any]:
        """Every field, JSON-ready; conventions as their sentence."""
        return {field.name: in_words(getattr(self, field.name)) for field in fields(self)}

    def difference(self, other: ProtocolFacts) -> dict[str, tuple[str, str]]:
        """The fields in which another one differs, in words: this one's and the other's."""
        own, others = self.to_dict(), other.to_dict()
        differing = [key for key in own if key not in NOT_CONVENTIONS and own[key] != others[key]]
        return {key: (text(own[key]), text(others[key])) for key in differing}

    def __str__(self) -> str:
        return facts_text(self.to_dict())


def facts_text(facts: Mapping[str, Any]) -> str:
    """The fields of `to_dict`, a line each."""
    lines = [f'  {key}: {text(value)}' for key, value in facts.items() if key != 'name']
    return '\n'.join([f'preset {facts["name"]}', *lines])


def in_words(value: Any) -> Any:
    """A field for JSON: numbers and names as they are, conventions as their sentence."""
    if isinstance(value, tuple):
        return [in_words(entry) for entry in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def text(value: Any) -> str:
    """A field for people."""
    if value is None or value == [] or value is False:
        return 'none'
    if isinstance(value, Mapping):
        return ', '.join(f'{key} {text(entry)}' for key, entry in value.items())
    return '; '.join(map(text, value)) if isinstance(value, list) else str(value)
