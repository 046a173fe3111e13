"""A data set's captions, by the names of the files of their features."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from fvq_core.data.folder_listing import is_hidden
from fvq_core.errors import UserError
from fvq_core.files.bounded import read_bounded

MOST_BYTES = 2**32  # of a file of captions


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
        files = sorted(p for p in root.rglob('*.txt') if not is_hidden(p.relative_to(root).as_posix()))
        found = [(p.relative_to(root).as_posix(), text(p)) for p in files]
    else:
        content = text(root)
        lines = content.split('\n' if '\n' in content else '\r')
        lines = lines[:-1] if lines and not lines[-1].strip() else lines
        tabs = [line.partition('\t') for line in lines]
        without = next((number for number, (_, tab, _) in enumerate(tabs, 1) if not tab), None)
        if without and any(tab for _, tab, _ in tabs):
            raise UserError(f'{path}: line {without} has no tab, as others have; write NAME<tab>CAPTION in all lines.')
        if tabs and not without:
            found = [(name, caption) for name, _, caption in tabs]
        else:
            found = [(f'{number}.txt', line) for number, line in enumerate(lines)]
    captions: dict[str, str] = {}
    for name, caption in found:
        parts = PurePosixPath(f'{os.path.splitext(name.strip())[0]}.npy')
        target = parts.as_posix()
        if parts.is_absolute() or '..' in parts.parts or any(each in target for each in '\\\0\n'):
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
