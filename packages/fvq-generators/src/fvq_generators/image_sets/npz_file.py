"""An npz of images as ADM's evaluator reads it, written block by block: 50,000 images are never in memory at once."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from fvq_core.errors import UserError
from fvq_core.files.atomic import staged

INTACT = 'The samples themselves are kept: make room and run the same command again.'


def write_npz(path: Path, blocks: Iterable[np.ndarray], shape: tuple[int, ...], labels: np.ndarray) -> None:
    """Write `arr_0`, uint8 (N, H, W, 3), and `arr_1`, the classes, int64 (N,); uncompressed, all or nothing.

    Args:
        path: The target, which is replaced only by a complete file.
        blocks: The images in turn.
        shape: (N, H, W, 3).
        labels: The class of each.

    Raises:
        UserError: The blocks do not add up to the shape, or the file cannot be written.
    """
    written = 0
    with staged(path, INTACT) as staging, zipfile.ZipFile(staging, 'w', zipfile.ZIP_STORED) as archive:
        with archive.open('arr_0.npy', 'w', force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(
                member, dict(descr=np.lib.format.dtype_to_descr(np.dtype(np.uint8)), fortran_order=False, shape=shape)
            )
            for block in blocks:
                if block.dtype != np.uint8 or block.shape[1:] != shape[1:]:
                    raise UserError(f'{path}: expected uint8 images of {shape[1:]}, got {block.dtype} {block.shape}.')
                member.write(np.ascontiguousarray(block).data)
                written += len(block)
        if written != shape[0]:
            raise UserError(f'{path}: expected {shape[0]} images, got {written}; draw the missing ones first.')
        with archive.open('arr_1.npy', 'w') as member:
            np.lib.format.write_array(member, np.asarray(labels, dtype=np.int64), allow_pickle=False)
