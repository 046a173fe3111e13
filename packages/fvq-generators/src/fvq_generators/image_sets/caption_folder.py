"""Captions to draw images of, as files of features."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fvq_core.data.folder_listing import is_hidden
from fvq_core.errors import UserError
from fvq_core.files.bounded import regular_size

from ..data.caption_features import CaptionError, pad_left, read_features


def by_number(path: Path) -> tuple[bool, int, str]:
    """A key that sorts files whose names are numbers by these, and behind them the others by name."""
    number = path.stem.isascii() and path.stem.isdigit()
    return not number, int(path.stem) if number else 0, path.name


class CaptionFolder:
    """The `.npy` files of a folder, without hidden ones, numbered in order: captions in place of classes.

    The order is that of `by_number`, so that number 10 of a folder that holds 0.npy, 1.npy, ... is 10.npy.

    Args:
        folder: Folder of features as `data.caption_features.read_features` takes them.
        tokens: Feature vectors T that the generator takes.
        channels: C.

    Raises:
        UserError: No such files.
    """

    def __init__(self, folder: str | Path, tokens: int, channels: int) -> None:
        self.files = sorted((p for p in Path(folder).glob('*.npy') if not is_hidden(p.name)), key=by_number)
        if not self.files:
            raise UserError(f'--captions {folder}: expected .npy files of caption features, got none.')
        self.tokens, self.channels = tokens, channels

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Captions by number: float32 (B, T, C), and bool (B, T), False for padding.

        Raises:
            UserError: A file without a usable caption, or of another text encoder.
        """
        pairs = []
        for path in (self.files[number] for number in numbers):
            try:
                pairs.append(pad_left(read_features(path, self.tokens, self.channels), self.tokens))
            except CaptionError as error:
                raise UserError(f'{path}: {error}; extract its features again.') from error
        captions, masks = zip(*pairs, strict=True)
        return torch.stack(captions), torch.stack(masks)

    def digest(self) -> str:
        """SHA-256 of names and bytes, equal for two folders that ask for the same images."""
        digest = hashlib.sha256()
        for path in self.files:
            digest.update(os.fsencode(path.name))
            regular_size(path, 'extract its features again')
            with path.open('rb') as file:
                digest.update(hashlib.file_digest(file, 'sha256').digest())
        return digest.hexdigest()
