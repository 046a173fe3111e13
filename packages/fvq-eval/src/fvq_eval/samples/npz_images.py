"""Image sets in ADM's npz layout: `arr_0` uint8 (N, H, W, 3), and optionally `arr_1`, a class for each image."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fvq_core.errors import UserError

from .npz_file import NpzFile
from .samples import BLOCK, Samples, pixels_digest

IMAGES, LABELS = 'arr_0', 'arr_1'


class NpzImages(Samples):
    """The images of an npz file, a block at a time."""

    kind = 'npz'

    def __init__(self, path: str) -> None:
        self.file = NpzFile(path)
        check_images(self.file)
        count, height, width, _ = self.file.members[IMAGES].shape
        super().__init__(path, height, width, read_labels(self.file, count))

    def digests(self, blocks: Sequence[int]) -> Iterator[str]:
        for rows in self.file.parts(IMAGES, [self.numbers(block) for block in blocks]):
            yield f'{pixels_digest(rows)} {zlib.crc32(rows.data):08x}'

    def check_whole(self, digests: Sequence[str]) -> None:
        """Compare with the CRC of the zip; processes read only their blocks, so it is put together from the blocks'."""
        _, height, width, _ = self.file.members[IMAGES].shape
        sizes = [len(self.numbers(block)) * height * width * 3 for block in range(self.blocks)]
        crcs = [int(digest.rpartition(' ')[2], 16) for digest in digests]
        self.file.check_crc(IMAGES, crcs, sizes)

    def read(self, blocks: Sequence[int]) -> Iterator[Tensor]:
        for rows in self.file.parts(IMAGES, [self.numbers(block) for block in blocks]):
            yield torch.from_numpy(rows.transpose(0, 3, 1, 2).copy())


def check_images(file: NpzFile) -> None:
    """Raise if an npz has no uint8 RGB images, naming what its `arr_0` is instead."""
    member = file.members.get(IMAGES)
    if member is None:
        raise UserError(
            f"{file.path}: expected '{IMAGES}' (uint8 images, N x H x W x 3), got {', '.join(file.members) or 'nothing'}; "
            'save the images with np.savez(path, images).'
        )
    if member.dtype != np.uint8:
        raise UserError(
            f"{file.path}: expected uint8 pixels in '{IMAGES}', got {describe(file)}; round them to uint8 in [0, 255] as "
            'your protocol requires.'
        )
    if len(member.shape) != 4 or member.shape[3] != 3 or member.fortran:
        kind = {1: 'greyscale', 4: 'with an alpha channel'}.get(member.shape[-1] if len(member.shape) == 4 else 0, '')
        order = 'channels first: transpose it' if len(member.shape) == 4 and member.shape[1] == 3 else kind
        shape = 'x'.join(map(str, member.shape))
        got = f'{shape}{" in column-major order" if member.fortran else ""}{f" ({order})" if order else ""}'
        raise UserError(f"{file.path}: expected '{IMAGES}' as N x H x W x 3 in RGB, got {got}; save it in that shape.")
    if not all(member.shape):
        raise UserError(f"{file.path}: expected images, got '{IMAGES}' of shape {member.shape}; it is empty.")


def describe(file: NpzFile) -> str:
    """The type of `arr_0` and the range of its first images: most often the scale was forgotten."""
    member = file.members[IMAGES]
    if member.dtype.kind not in 'fiu' or not member.shape or not all(member.shape) or member.fortran:
        return str(member.dtype)
    (first,) = file.parts(IMAGES, [range(min(BLOCK, member.shape[0]))])
    bad = int((~np.isfinite(first)).sum()) if member.dtype.kind == 'f' else 0
    values = first[np.isfinite(first)]
    span = f' in [{values.min():.4g}, {values.max():.4g}]' if values.size else ''
    return f'{member.dtype}{span}{f" with {bad} NaN or infinite values" if bad else ""}'


def read_labels(file: NpzFile, count: int) -> np.ndarray:
    """The classes of the images, int64 (N,); -1 if the file has none."""
    member = file.members.get(LABELS)
    if member is None:
        return np.full(count, -1, dtype=np.int64)
    if member.dtype.kind not in 'iu' or member.shape != (count,):
        raise UserError(
            f"{file.path}: expected '{LABELS}' to be {count} whole numbers, the classes, got {member.dtype} of shape "
            f'{member.shape}; save one class for each image, or leave it out.'
        )
    return file.array(LABELS).astype(np.int64)
