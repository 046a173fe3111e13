"""LlamaGen's own codes: a folder of one `.npy` file an image, and a folder of one an image for the labels."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fvq_core.codes import layout_from_dict
from fvq_core.errors import UserError
from fvq_core.files.arrays import npy_position

from .reader import CodesReader, check_range


def find_pair(root: Path) -> tuple[Path, Path] | None:
    """The folders `NAME_codes` and `NAME_labels` in a folder, or None; raises if there are several pairs."""
    found = sorted(path for path in root.glob('*_codes') if path.is_dir())
    pairs = [(codes, labels) for codes in found if (labels := twin(codes)).is_dir()]
    if len(pairs) > 1:
        names = ', '.join(codes.name for codes, _ in pairs)
        raise UserError(f'{root} holds several sets of codes ({names}); name one of them.')
    if not pairs and root.name.endswith('_codes') and twin(root).is_dir():
        return root, twin(root)
    return pairs[0] if pairs else None


def twin(codes: Path) -> Path:
    """The folder of the labels of a folder of codes."""
    return codes.with_name(f'{codes.name.removesuffix("_codes")}_labels')


class LlamaGenFolder(CodesReader):
    """Reads `imagenet256_codes/0.npy`, 1.npy, ..., each int64 (1, A, L), and `imagenet256_labels` beside it, each (1,).

    These files tell neither which tokenizer made them nor how many codes it has, so the user does.

    Args:
        root: The folder of both, or that of the codes.
        layout: `CodeLayout.to_dict` of a crop's codes, such as `dict(type='Grid', height=16, width=16,
            codebook_size=16384)`.
        tokenizer_hash: The hash of the tokenizer that made them; empty if it is not known.

    Raises:
        UserError: No such folders, numbers missing, or other files.
    """

    def __init__(self, root: str | Path, layout: Mapping[str, Any], tokenizer_hash: str = '') -> None:
        self.root = Path(root)
        pair = find_pair(self.root)
        if pair is None:
            raise UserError(f'{root} holds no NAME_codes beside NAME_labels, as LlamaGen writes them.')
        self.codes_folder, self.labels_folder = pair
        self.layout, self.tokenizer_hash = layout_from_dict(dict(layout)), tokenizer_hash
        self.size = count_numbered(self.codes_folder)
        labels = count_numbered(self.labels_folder)
        if labels != self.size:
            raise UserError(f'{root}: {self.size:,} files of codes but {labels:,} of labels; extract them again.')
        self.num_crops = self.image(0)[0].shape[0]

    def __len__(self) -> int:
        return self.size

    def label(self, image: int) -> int:
        check_range(image, self.size, 'image', self.root)
        path = self.labels_folder / f'{image}.npy'
        found = load(path)
        if found.size != 1 or found.dtype.kind not in 'iu':
            raise UserError(f'{path} holds {found.dtype} of shape {found.shape}, expected one whole number.')
        return int(found.item())

    def image(self, image: int) -> tuple[np.ndarray, str]:
        check_range(image, self.size, 'image', self.root)
        path = self.codes_folder / f'{image}.npy'
        found = load(path)
        L, num_crops = self.layout.length, getattr(self, 'num_crops', found.shape[1] if found.ndim == 3 else 0)
        if found.dtype.kind not in 'iu' or found.shape != (1, num_crops, L) or not num_crops:
            raise UserError(
                f'{path} holds {found.dtype} of shape {found.shape}, expected whole numbers of shape (1, crops, {L}); '
                'is the layout right?'
            )
        return found[0], str(path)


def count_numbered(folder: Path) -> int:
    """How many files 0.npy, 1.npy, ... a folder holds; raises if there is none, or a number is missing."""
    with os.scandir(folder) as entries:
        numbers = {int(e.name[:-4]) for e in entries if e.name.endswith('.npy') and e.name[:-4].isdigit()}
    if not numbers:
        raise UserError(f'{folder} holds no 0.npy, 1.npy, ...')
    if max(numbers) + 1 != len(numbers):
        missing = next(n for n in range(max(numbers)) if n not in numbers)
        raise UserError(f'{folder}: {missing}.npy is missing, though there is {max(numbers)}.npy; copy it again.')
    return len(numbers)


def load(path: Path) -> np.ndarray:
    """The array of a file, read whole, which is faster than mapping a small one; raises if it cannot be read."""
    try:
        shape, fortran, dtype, start = npy_position(path)
        flat = np.frombuffer(path.read_bytes(), dtype, math.prod(shape), start)
        return flat.reshape(shape, order='F' if fortran else 'C')
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f'{path} cannot be read ({" ".join(str(error).split())}); copy it again.') from error
