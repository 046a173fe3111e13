"""Damage to the bytes of a file, as disks, networks, editors and attackers do it; a seed decides all of it."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

CANARY = 'canary'
POPEN = {'type': 'subprocess.Popen', 'args': ['touch', CANARY]}
# What stands in place of a value of a JSON document.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3.5, -0.0, 2**31, 2**63, -(2**63), 10**30, 10**400, 1e308),
    *(float('nan'), float('inf'), '', 'x', '7', 'a\nb', '../..', '\0', '\ud800', f'open({CANARY!r}, "w")'),
    *([], {}, [[]], [None], [1, 'x'], {'': 1}, {'float': 'x'}, {'type': 'x'}, {'type': 7}, POPEN, POPEN['type']),
)
DEEP = 100_000


def damage(data: bytes, name: str, rng: random.Random) -> bytes:
    """A damaged copy of a file.

    Half of the files in a format with checksums keep them right, so that the damage gets past the first check.

    Args:
        data: The whole file.
        name: Its suffix says its format.
        rng: Where the damage comes from.
    """
    by_structure = STRUCTURES.get(PurePath(name).suffix)
    if by_structure is not None and rng.random() < 0.5:
        return by_structure(data, rng)
    return damage_bytes(data, rng)


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    """One to three strokes, each at a random place."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice(STROKES)(data, rng)
    return data


def span(data: bytes, rng: random.Random) -> tuple[int, int]:
    """Start and end of a piece; short ones are as likely as long ones, and so are those near the start."""
    start = min(int(len(data) * rng.random() ** rng.choice((1, 4))), len(data))
    return start, min(len(data), start + int(2 ** rng.uniform(0, 12)))


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: span(data, rng)[0]]


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 16)) if data else 0):
        changed[min(span(data, rng)[0], len(data) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def insert(data: bytes, rng: random.Random) -> bytes:
    start, end = span(data, rng)
    return data[:start] + rng.randbytes(end - start + 1) + data[start:]


def delete(data: bytes, rng: random.Random) -> bytes:
    start, end = span(data, rng)
    return data[:start] + data[end:]


def duplicate(data: bytes, rng: random.Random) -> bytes:
    start, end = span(data, rng)
    return data[:end] + data[start:end] + data[end:]


def zero(data: bytes, rng: random.Random) -> bytes:
    start, end = span(data, rng)
    return data[:start] + bytes(end - start) + data[end:]


def extreme(data: bytes, rng: random.Random) -> bytes:
    """A number of 1, 2, 4 or 8 bytes becomes the largest, a small one, or its negative."""
    start = span(data, rng)[0]
    number = rng.choice((b'\xff', b'\x7f', b'\x80', b'\1')) * rng.choice((1, 2, 4, 8))
    return data[:start] + number + data[start + len(number) :]


STROKES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(truncate, flip_bits, flip_bits, insert, delete, duplicate, zero, extreme),
)


def damage_json(data: bytes, rng: random.Random) -> bytes:
    """A value of another type or size, a key that is missing or misspelt, or nesting that no stack holds."""
    document = copy.deepcopy(json.loads(data))
    if rng.random() < 0.03:
        opening = rng.choice((b'[', b'{"a":', b'[{"a":'))
        return opening * DEEP if rng.random() < 0.5 else b'[' * DEEP + b']' * DEEP
    for _ in range(rng.choice((1, 1, 1, 2))):
        document = change(document, rng)
    return json.dumps(document).encode()


def change(document: Any, rng: random.Random) -> Any:
    """One change at a random place of a document; places near the root are as likely as deep ones."""
    keys = list(document) if isinstance(document, dict) else list(range(len(document))) if document else []
    if not keys:
        return rng.choice(VALUES)
    key = rng.choice(keys)
    if isinstance(document[key], dict | list) and rng.random() < 0.8:
        document[key] = change(document[key], rng)
    elif rng.random() < 0.8:
        document[key] = copy.deepcopy(rng.choice(VALUES))
    elif isinstance(document, list):
        document.pop(key) if rng.random() < 0.5 else document.insert(key, document[key])
    else:
        value = document.pop(key)
        if rng.random() < 0.5:
            document[rng.choice((key + 's', '', 'type', '_scope_', '_base_', 'custom_imports'))] = value
    return document


def damage_lines(data: bytes, rng: random.Random) -> bytes:
    """One line of a file of JSON lines."""
    lines = data.splitlines()
    number = rng.randrange(len(lines))
    lines[number] = damage_json(lines[number], rng)
    return b'\n'.join(lines) + b'\n'


def damage_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Its header, with the length of it set right."""
    (size,) = struct.unpack_from('<Q', data)
    header = damage_json(data[8 : 8 + size], rng)
    return struct.pack('<Q', len(header)) + header + data[8 + size :]


def damage_zip(data: bytes, rng: random.Random) -> bytes:
    """A member of a zip archive, with its sizes and CRC set right; or members left out, twice there or compressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, 'w') as new:
        names = old.namelist()
        pickles = [name for name in names if name.endswith('.pkl')]
        changed = rng.choice(pickles or names) if rng.random() < 0.5 else rng.choice(names)
        action = rng.choice(('bytes', 'bytes', 'bytes', 'bytes', 'none', 'twice', 'compressed', 'renamed'))
        for name in names:
            content = old.read(name)
            if name != changed:
                new.writestr(name, content)
            elif action == 'bytes':
                new.writestr(name, damage_bytes(content, rng))
            elif action == 'compressed':
                new.writestr(name, bytes(2**24), zipfile.ZIP_DEFLATED)
            elif action == 'renamed':
                new.writestr(rng.choice(('x', f'../{CANARY}', f'/{CANARY}', name + '/')), content)
            elif action == 'twice':
                new.writestr(name, content)
                with warnings.catch_warnings():
                    warnings.simplefilter('ignore')  # zipfile says so
                    new.writestr(name, damage_bytes(content, rng))
    return out.getvalue()


def damage_png(data: bytes, rng: random.Random) -> bytes:
    """A chunk, with its length and CRC set right."""
    chunks, place = [], 8
    while place < len(data):
        (size,) = struct.unpack_from('>I', data, place)
        chunks.append([data[place + 4 : place + 8], data[place + 8 : place + 8 + size]])
        place += 12 + size
    chosen = rng.choice(chunks)
    if rng.random() < 0.7:
        chosen[1] = damage_bytes(chosen[1], rng)
    else:
        chunks.insert(rng.randrange(len(chunks) + 1), [rng.choice((b'tRNS', b'PLTE', b'acTL', chosen[0])), chosen[1]])
    return data[:8] + b''.join(
        struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body)) for kind, body in chunks
    )


def damage_tar(data: bytes, rng: random.Random) -> bytes:
    """A header of a member, with its checksum set right."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        start = rng.choice([member.offset for member in tar])
    header = bytearray(data[start : start + tarfile.BLOCKSIZE])
    field, size = rng.choice(((0, 100), (124, 12), (124, 12), (156, 1), (157, 100), (345, 155)))
    kinds = {1: rng.choice(b'0123456789gxLKSVX').to_bytes(), 12: b'%011o\0' % rng.getrandbits(rng.choice((3, 20, 33)))}
    value = kinds.get(size, rng.choice((b'../' + CANARY.encode(), b'/' + CANARY.encode(), rng.randbytes(8), b'')))
    header[field : field + size] = value.ljust(size, b'\0')[:size]
    header[148:156] = b'%06o\0 ' % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    return data[:start] + bytes(header) + data[start + tarfile.BLOCKSIZE :]


STRUCTURES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    '.json': damage_json,
    '.jsonl': damage_lines,
    '.safetensors': damage_safetensors,
    '.npz': damage_zip,
    '.pth': damage_zip,
    '.pt': damage_zip,
    '.png': damage_png,
    '.tar': damage_tar,
}
