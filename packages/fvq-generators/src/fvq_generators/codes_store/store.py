"""Reading a store of codes: memory-mapped, any crop of any image at once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from fvq_core.errors import UserError
from fvq_core.files.arrays import map_npy

from .manifest import LABELS_NAME, read_manifest
from .reader import CodesReader, check_range

REMEDY = 'extract the codes again, or copy the store again'


class CodesStore(CodesReader):
    """A folder that `tools/extract_codes.py` wrote. Opening it reads no codes; processes share what they read.

    Args:
        root: The folder.

    Attributes:
        manifest: The contents of its `manifest.json`.

    Raises:
        UserError: No store, an unfinished one, or one with missing, truncated or foreign files.
    """

    def __init__(self, root: str | Path) -> None:
        self.root, self.manifest = Path(root), read_manifest(root)
        if not self.manifest.complete:
            raise UserError(f'{root} is unfinished; run tools/extract_codes.py with the same arguments to continue it.')
        for shard in self.manifest.shards:
            path = self.root / shard.file
            size = path.stat().st_size if path.is_file() else None
            if size is None:
                raise UserError(f'{path} is missing, one of {len(self.manifest.shards)} shards; {REMEDY}.')
            if size != shard.bytes:
                raise UserError(f'{path} has {size:,} bytes, its manifest says {shard.bytes:,}; {REMEDY}.')
        self.layout, self.num_crops, self.moments = self.manifest.layout, self.manifest.num_crops, self.manifest.moments
        self.tokenizer_hash, self.tokenizer_source = self.manifest.tokenizer_hash, self.manifest.tokenizer
        self.ends = np.cumsum([shard.images for shard in self.manifest.shards])
        self.labels: np.ndarray = self._map(LABELS_NAME, (self.manifest.images,), np.dtype(np.int64))
        self.maps: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.manifest.images

    def __getstate__(self) -> dict[str, Any]:
        # A process that is started afresh maps the files itself; a pickled map would be a copy of them.
        return {**vars(self), 'maps': {}}

    def label(self, image: int) -> int:
        check_range(image, len(self.labels), 'image', self.root)
        return int(self.labels[image])

    def verify(self) -> None:
        """Read everything, and raise if a file differs from the manifest's digest."""
        wanted = {shard.file: shard.sha256 for shard in self.manifest.shards}
        for name, digest in {**wanted, LABELS_NAME: self.manifest.labels_sha256}.items():
            with open(self.root / name, 'rb') as file:
                if hashlib.file_digest(file, 'sha256').hexdigest() != digest:
                    raise UserError(f'{self.root / name} does not match its checksum; {REMEDY}.')

    def image(self, image: int) -> tuple[np.ndarray, str]:
        check_range(image, len(self.labels), 'image', self.root)
        number = int(np.searchsorted(self.ends, image, side='right'))
        shard = self.manifest.shards[number]
        if number not in self.maps:
            shape = (shard.images, self.num_crops, *self.manifest.crop_shape)
            self.maps[number] = self._map(shard.file, shape, self.manifest.dtype)
        row = image - (int(self.ends[number - 1]) if number else 0)
        return self.maps[number][row], f'{self.root / shard.file}, image {row}'

    def _map(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        path = self.root / name
        try:
            found = map_npy(path)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f'{path} cannot be read ({" ".join(str(error).split())}); {REMEDY}.') from error
        if found.shape != shape or found.dtype != dtype:
            raise UserError(
                f'{path} holds {found.dtype} of shape {found.shape}, expected {dtype} of shape {shape}; {REMEDY}.'
            )
        return found
