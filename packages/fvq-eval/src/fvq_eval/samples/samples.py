"""The contract of an image set: RGB images of one size in a fixed order, read a block at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from fvq_core.errors import UserError

BLOCK = 64  # images that are read, hashed and given to one rank together


class Samples:
    """A set of images.

    Blocks are `BLOCK` images in a row, the last one fewer; they depend only on the set, never on batches or ranks.

    Args:
        height: Height of every image, in pixels.
        width: Width of every image, in pixels.
        labels_N: int64 class of every image, -1 without one.
    """

    kind: str

    def __init__(self, path: str, height: int, width: int, labels_N: np.ndarray) -> None:
        self.path, self.height, self.width, self.labels_N = path, height, width, labels_N
        self.converted = 0  # images of another mode that were made RGB, in the blocks whose digests were taken

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-len(self) // BLOCK)

    def numbers(self, block: int) -> range:
        """The images of a block."""
        return range(block * BLOCK, min((block + 1) * BLOCK, len(self)))

    def digests(self, blocks: Sequence[int]) -> Iterator[str]:
        """The sha256 of each of these ascending blocks as it is stored.

        Raises:
            UserError: An image of another size or mode, or a file that cannot be read.
        """
        raise NotImplementedError

    def check_whole(self, digests: Sequence[str]) -> None:
        """Raise if the blocks, each valid by itself, are not the file that was written; most kinds can tell block by block."""

    def read(self, blocks: Sequence[int]) -> Iterator[Tensor]:
        """The images of each of these ascending blocks, uint8 (n, 3, H, W).

        Raises:
            UserError: A damaged file.
        """
        raise NotImplementedError

    def labels(self) -> np.ndarray:
        """The class of every image, int64 (N,).

        Raises:
            UserError: An image has none.
        """
        missing = np.flatnonzero(self.labels_N < 0)
        if len(missing):
            raise UserError(
                f'{self.path}: {len(missing)} of {len(self)} images have no class, the first is number {missing[0]}; '
                'classes come from class folders, arr_1 of an npz, or .cls members of a tar.'
            )
        return self.labels_N


def pixels_digest(pixels: np.ndarray) -> str:
    """The sha256 of a block of pixels and its shape: the same bytes are other images in another one."""
    digest = hashlib.sha256(f'{pixels.shape}\n'.encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def content_hash(digests: Sequence[str]) -> str:
    """One sha256 for a whole set, from the digests of its blocks in order."""
    return hashlib.sha256('\n'.join(digests).encode()).hexdigest()
