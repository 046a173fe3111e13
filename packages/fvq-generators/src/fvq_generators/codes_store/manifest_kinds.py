"""What JSON must hold for a manifest: `"3"` is not 3, and `"no"` is not false."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Of each field but the layout, whose sizes are looked at one by one.
KINDS: dict[str, type] = dict(
    tokenizer_hash=str,
    tokenizer=str,
    crops=dict,
    precision=str,
    seed=int,
    source=str,
    source_images=int,
    source_digest=str,
    shard_size=int,
    complete=bool,
    unreadable=list,
    shards=list,
    labels_sha256=str,
    moments=bool,
)
SHARD_KINDS: dict[str, type] = dict(file=str, images=int, bytes=int, sha256=str)
KIND_NAMES = {str: 'text', int: 'a whole number from 0', bool: 'true or false', list: 'a list', dict: 'an object'}


def check_kinds(given: Mapping[str, Any]) -> None:
    """Raise a `TypeError` if a value of a manifest, as JSON gives it, is of another kind."""
    for key, kind in KINDS.items():
        check(key, given[key], kind, negative=key == 'seed')
    check('count of crops', given['crops'].get('count'), int)
    for name in given['unreadable']:
        check('unreadable', name, str)
    for shard in given['shards']:
        check('shards', shard, dict)
        for key, kind in SHARD_KINDS.items():
            check(f'{key} of a shard', shard.get(key), kind)
    check('layout', given['layout'], dict)
    for key, value in given['layout'].items():
        for number in flat(value) if key not in ('type', 'scale', 'shift') else []:
            check(f'{key} of the layout', number, int)


def check(what: str, value: Any, kind: type, negative: bool = False) -> None:
    """Raise a `TypeError` if a value is of another kind; True is not a number."""
    if type(value) is not kind or (kind is int and value < 0 and not negative):
        raise TypeError(f"'{what}' is {value!r}, expected {KIND_NAMES[kind]}")


def flat(value: Any) -> list[Any]:
    """The values of lists in lists."""
    return [inner for item in value for inner in flat(item)] if isinstance(value, list) else [value]
