"""List files: one image per line, with or without a label, as editors, spreadsheets and `find` write them."""

from __future__ import annotations

import codecs
import os
import re
from unicodedata import normalize

from ..errors import UserError
from ..files.bounded import read_bounded
from .folder_listing import EXTENSIONS

MAX_BYTES = 2**30
CHECKED_IMAGES = 32  # images that are looked for; if none exists, the list belongs to another folder
QUOTED = re.compile(r'"(?P<path>(?:[^"]|"")+)"(?P<remainder>.*)')
BLANKS, SEPARATORS, DIGITS = ' \t', (',', ';'), '0123456789'
MAX_LABEL_DIGITS = 9


def read_list(list_file: str, root: str) -> list[tuple[str, int]]:
    """The entries of a list file: `cat/1.jpg` or `cat/1.jpg 0`, one a line.

    A label follows spaces, tabs, a comma or a semicolon, the same kind in all lines. Paths are relative to the root, or
    absolute; they may contain spaces and may be in double quotes. Blank lines are skipped, and so are comments: lines that
    start with # and do not end in an image's extension. Files are UTF-8, or UTF-16 with a byte-order mark; line ends may be
    those of any system. A backslash stands for / unless a file's name contains it, and accents may be composed or not.

    A few of the images are looked up in `root`, and lines that are ambiguous. A `UserError` gives the number of a line
    that cannot be parsed.

    Returns:
        Path and label (-1 without one) of each image, in the order of the file.
    """
    entries: list[tuple[str, int]] = []
    first: tuple[bool, int] | None = None  # whether the first label comes after a comma, and its line
    for number, raw in enumerate(split_lines(list_file), 1):
        line = os.fsdecode(raw).strip(' \t\r\f\v')
        if not line:
            continue
        path, comma, label = parse(line)
        plain = path.lower().endswith(EXTENSIONS) and '\\' not in path and path.isprintable()
        found = (None if plain and path.isascii() else find(path, root)) or (path if plain else None)
        if found is None and line.startswith('#') and not path.lower().endswith(EXTENSIONS):
            continue
        if found is None:
            raise UserError(f'{list_file}: line {number}: {problem(raw, line, root)}')
        if label is not None:
            first = first or (comma, number)
            if first[0] != comma:
                this, that = ('a comma', 'a space') if comma else ('a space', 'a comma')
                raise UserError(
                    f'{list_file}: line {number}: the label comes after {this}, that of line {first[1]} after {that}; '
                    'use one of them.'
                )
        entries.append((found, -1 if label is None else label))
    probed = [path for path, _ in entries[:: max(1, len(entries) // CHECKED_IMAGES)]]
    if probed and not any(os.path.lexists(os.path.join(root, path)) for path in probed):
        raise UserError(
            f'{list_file}: none of {len(probed)} of its images is in {root}, the first would be '
            f'{os.path.join(root, probed[0])}; paths are relative to root.'
        )
    return entries


def split_lines(list_file: str) -> list[bytes]:
    """The lines of a text file, as bytes: UTF-8, or whatever encoding file names have."""
    data = read_bounded(list_file, MAX_BYTES, 'name a text file')
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            data = data.decode('utf-16').encode()
        except UnicodeError as error:
            raise UserError(f'{list_file}: damaged UTF-16 ({error}); save it as UTF-8.') from error
    lines = data.removeprefix(codecs.BOM_UTF8).split(b'\n' if b'\n' in data else b'\r')
    damaged = next((number for number, line in enumerate(lines, 1) if b'\0' in line), None)
    if damaged:
        raise UserError(f'{list_file}: line {damaged} has a NUL byte; a list is a text file, save it as UTF-8.')
    return lines


def parse(line: str) -> tuple[str, bool, int | None]:
    """The path in a line, whether a comma follows it, and the label; the whole line if it does not end in a label."""
    head = line.rstrip(DIGITS)
    label = line[len(head) :]
    if label == '1' and head.endswith('-'):
        head, label = head[:-1], '-1'
    path = head.rstrip(BLANKS)
    comma = path.endswith(SEPARATORS)
    if comma:
        path = path[:-1].rstrip(BLANKS)
    if not path or path == head or not label or len(label) > MAX_LABEL_DIGITS:
        path, comma, label = line, False, ''
    if path.startswith('"') and (quoted := QUOTED.fullmatch(path)) and not quoted['remainder']:
        path = quoted['path'].replace('""', '"')
    return path, comma, int(label) if label else None


def find(path: str, root: str) -> str | None:
    """A path as it is, with / for backslashes, or with accents as other systems store them, whichever exists."""
    forms = (path, path.replace('\\', '/'), normalize('NFC', path), normalize('NFD', path))
    return next((form for form in forms if os.path.lexists(os.path.join(root, form))), None)


def problem(raw: bytes, line: str, root: str) -> str:
    """Why a line does not name an image."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return f'it is not UTF-8, and {root} has no file of these bytes; save the list as UTF-8.'
    return f"expected a path below {root}, and optionally a whole number from -1 on as label ('cat/1.jpg 0'), got '{line}'."
