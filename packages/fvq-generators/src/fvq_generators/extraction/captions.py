"""A data set's captions, and the folder of their features."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from fvq_core.data.folder_listing import is_hidden
from fvq_core.errors import UserError
from fvq_core.files.atomic import write_atomically
from fvq_core.files.bounded import read_bounded
from fvq_core.files.json import read_json, write_json

PLAN_NAME = 'captions.json'
MOST_BYTES = 2**32  # of a file of captions
INTACT = 'The features made before are kept: make room and run the same command again.'


class Encoder(Protocol):
    """Texts to features (n, C) of each, such as `TextEncoder`."""

    def __call__(self, texts: list[str]) -> list[np.ndarray]: ...


def read_captions(path: str | Path) -> dict[str, str]:
    """Captions by the name of their file of features, such as `00/17.npy`.

    Args:
        path: A folder with a `.txt` file for each image, at any depth: `00/17.txt` gives `00/17.npy`. Or a text file with a
            caption a line, which gives `0.npy`, `1.npy`, ...; or with `NAME<tab>CAPTION` in every line, and NAME the path of
            an image.

    Raises:
        UserError: No captions, an empty one, names that repeat or lead out of the folder, or text that is not UTF-8.
    """
    root = Path(path)
    if root.is_dir():
        files = sorted(p for p in root.rglob('*.txt') if not is_hidden(p.name))
        found = [(p.relative_to(root).as_posix(), text(p)) for p in files]
    else:
        lines = text(root).split('\n')
        lines = lines[:-1] if lines and not lines[-1].strip() else lines
        tabs = [line.partition('\t') for line in lines]
        if tabs and all(tab for _, tab, _ in tabs):
            found = [(name, caption) for name, _, caption in tabs]
        else:
            found = [(f'{number}.txt', line) for number, line in enumerate(lines)]
    captions: dict[str, str] = {}
    for name, caption in found:
        target = f'{os.path.splitext(name.strip())[0]}.npy'
        parts = PurePosixPath(target)
        if parts.is_absolute() or '..' in parts.parts or '\\' in target or '\0' in target:
            raise UserError(f'{path}: {name!r} does not name a file within the folder; use paths such as 00/17.jpg.')
        if target in captions:
            raise UserError(f'{path}: two captions are for {target}; give each image one.')
        if not caption.strip():
            raise UserError(f'{path}: the caption of {name} is empty; write one, or leave the image out.')
        captions[target] = caption.strip()
    if not captions:
        raise UserError(f'{path} holds no captions; expected .txt files, or a caption a line.')
    return captions


def text(path: Path) -> str:
    """A text file; raises if it cannot be read."""
    data = read_bounded(path, MOST_BYTES, 'split it')
    try:
        return data.decode('utf-8-sig').replace('\r\n', '\n')
    except UnicodeDecodeError as error:
        raise UserError(f'{path} is not UTF-8 (byte {error.start}); write it again.') from error


def claim_folder(out: str | Path, facts: Mapping[str, Any]) -> None:
    """Begin or continue a folder of features; raises if it holds those of another encoder."""
    root = Path(out)
    there = read_json(root / PLAN_NAME)
    if there is not None and there != facts:
        differ = sorted(key for key in {*there, *facts} if there.get(key) != facts.get(key))
        raise UserError(
            f'{root} holds features that were made in another way ({", ".join(differ)}); name another folder, or '
            'delete that one.'
        )
    if there is None and root.is_dir() and any(root.rglob('*.npy')):
        raise UserError(
            f'{root} holds .npy files but no {PLAN_NAME} that tells how they were made; name another folder.'
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{root} cannot be made: {error.strerror or error}; name another folder.') from error
    write_json(root / PLAN_NAME, dict(facts))


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
