"""Images in folders: one folder per class as in ImageNet, a flat folder, or a list file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ..errors import UserError
from ..files.paths import expand_home
from ..registry import DATASETS
from .decoding import Orientation, read_file
from .folder_listing import EXTENSIONS, list_folder, warn_left_out
from .image_dataset import ImageDataset
from .list_file import read_list
from .packed_names import PackedNames


@DATASETS.register_module()
class ImageFolder(ImageDataset):
    """RGB images of a folder.

    Args:
        root: The folder. Class folders give labels; images directly in it have label -1. See `list_folder` for what is
            left out.
        list_file: A text file of paths relative to `root`, one per line, optionally with a label; see `read_list`.
        transforms, decoder, seed, exif_orientation: See `ImageDataset`.
    """

    def __init__(
        self,
        root: str,
        transforms: Sequence[Mapping[str, Any]] = (),
        list_file: str | None = None,
        decoder: Literal['pil', 'auto'] = 'pil',
        seed: int = 0,
        exif_orientation: Orientation = 'apply',
    ) -> None:
        super().__init__(transforms, decoder, seed, exif_orientation)
        root = expand_home(root)
        list_file = None if list_file is None else expand_home(list_file)
        if not os.path.isdir(root):
            raise UserError(f"ImageFolder: '{root}' is not a folder; set root to where the images are.")
        if list_file is not None and not os.path.isfile(list_file):
            raise UserError(f'ImageFolder: the list file {list_file} is not a file.')
        self.root = os.path.abspath(root)
        entries = self.list_root() if list_file is None else read_list(list_file, self.root)
        if not entries:
            raise UserError(f'ImageFolder: no image is listed in {list_file}.')
        self.names = PackedNames.pack(name for name, _ in entries)
        self.labels = np.array([label for _, label in entries], dtype=np.int64)

    def list_root(self) -> list[tuple[str, int]]:
        """Path and label of every image below the root; what is left out is logged."""
        listing = list_folder(self.root)
        odd = '; '.join(listing.odd())
        if not listing.images:
            why = (f': {odd}' if odd else '') + ('; TarShards reads tar files' if listing.tars else '')
            raise UserError(f'ImageFolder: no image ({", ".join(EXTENSIONS)}) in {self.root}{why}.')
        if odd:
            warn_left_out(f'{self.root}: {odd}')
        return listing.images

    def name(self, number: int) -> str:
        return os.path.join(self.root, self.names[number])

    def read(self, number: int) -> bytes:
        return read_file(self.name(number))
