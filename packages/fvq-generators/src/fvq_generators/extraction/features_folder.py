"""The folder of captions' features, which holds those of the captions that it was last made for and no others."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fvq_core.data.folder_listing import few, is_hidden
from fvq_core.errors import UserError
from fvq_core.files.atomic import write_atomically
from fvq_core.files.bounded import read_bounded
from fvq_core.files.json import read_json, write_json

from .captions import MOST_BYTES

PLAN_NAME = 'captions.json'
RECORD_NAME = 'captions.tsv'  # of each file of features the digest of its caption, and its name
INTACT = 'The features made before are kept: make room and run the same command again.'
REMEDY = 'name another folder, or delete that one'


class Encoder(Protocol):
    """Texts to features (n, C) of each, such as `TextEncoder`."""

    def __call__(self, texts: list[str]) -> list[np.ndarray]: ...


def claim_folder(
    out: str | Path,
    facts: Mapping[str, Any],
    captions: Mapping[str, str],
    prune: bool = False,
    say: Callable[[str], Any] = print,
) -> list[str]:
    """Begin or continue a folder of features.

    A file that is there has the caption that the record gives it, at any time: features of another caption are removed before
    the record is written.

    Args:
        out: The folder.
        facts: How features are made.
        captions: Captions by the names of their files.
        prune: Remove features of captions that are gone. No file that the record does not list is ever removed.
        say: Takes lines about what is removed.

    Returns:
        Names of the files to make, sorted.

    Raises:
        UserError: The folder holds features of another encoder, features of captions that are gone, or files that were not
            made here.
    """
    root = Path(out)
    there = read_json(root / PLAN_NAME)
    if there is not None and there != facts:
        differ = sorted(key for key in {*there, *facts} if there.get(key) != facts.get(key))
        raise UserError(f'{root} holds features that were made in another way ({", ".join(differ)}); {REMEDY}.')
    found = npy_files(root)
    if there is None and found:
        raise UserError(
            f'{root} holds .npy files but no {PLAN_NAME} that tells how they were made; name another folder.'
        )
    recorded = read_record(root / RECORD_NAME)
    foreign = sorted(name for name in found - recorded.keys() if not is_hidden(name))
    if foreign:
        raise UserError(f'{root} holds files that {RECORD_NAME} does not list: {few(foreign)}; {REMEDY}.')
    digests = {name: digest(caption) for name, caption in captions.items()}
    made = found & recorded.keys()
    gone = sorted(made - digests.keys())
    if gone and not prune:
        raise UserError(
            f'{root} holds features of {len(gone):,} captions that are gone: {few(gone)}; remove them with --prune, or name '
            'another folder.'
        )
    changed = sorted(name for name in made & digests.keys() if recorded[name] != digests[name])
    for names, what in (
        (gone, 'are gone, their features removed'),
        (changed, 'have changed, their features made again'),
    ):
        if names:
            say(f'{root}: {len(names):,} captions {what}: {few(names)}')
    try:
        for name in (*gone, *changed):
            (root / name).unlink(missing_ok=True)
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{root} cannot be written: {error.strerror or error}; name another folder.') from error
    write_json(root / PLAN_NAME, dict(facts))
    lines = b''.join(os.fsencode(f'{digests[name]}\t{name}\n') for name in sorted(digests))
    write_atomically(root / RECORD_NAME, lines, INTACT)
    return sorted(digests.keys() - (made - {*changed}))


def npy_files(root: Path) -> set[str]:
    """Paths of the .npy files below a folder. Links to folders are not followed."""
    return {
        os.path.relpath(os.path.join(folder, name), root).replace(os.sep, '/')
        for folder, _, names in os.walk(root)
        for name in names
        if name.endswith('.npy')
    }


def read_record(path: Path) -> dict[str, str]:
    """Digests of captions by the names of their files; raises if the record is damaged."""
    if not path.exists():
        return {}
    lines = os.fsdecode(read_bounded(path, MOST_BYTES, REMEDY)).split('\n')[:-1]
    pairs = [line.partition('\t') for line in lines]
    if not all(tab for _, tab, _ in pairs):
        raise UserError(f'{path} is damaged: a line has no tab; {REMEDY}.')
    return {name: value for value, _, name in pairs}


def digest(caption: str) -> str:
    """BLAKE2 of a caption, 16 bytes in hexadecimal."""
    return hashlib.blake2b(caption.encode(), digest_size=16).hexdigest()


def write_features(
    encoder: Encoder,
    captions: Mapping[str, str],
    out: str | Path,
    batch_size: int,
    advance: Callable[[int], Any] = lambda captions: None,
) -> None:
    """Write `NAME.npy`, float32 (1, n, C) as LlamaGen's, of each caption. Texts of like length go through together."""
    names = sorted(captions, key=lambda name: len(captions[name]))
    for start in range(0, len(names), batch_size):
        batch = names[start : start + batch_size]
        for name, features_nC in zip(batch, encoder([captions[name] for name in batch]), strict=True):
            buffer, path = io.BytesIO(), Path(out, name)
            np.save(buffer, features_nC[None], allow_pickle=False)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, buffer.getvalue(), INTACT, flush=False)
        advance(len(batch))
