"""Which file holds the caption of an image of a codes store: by its number, or by the name that the image had."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Any, Literal

import numpy as np

from fvq_core.data.tar_shards import TarShards
from fvq_core.errors import UserError

from ..codes_store import CodesStore, Manifest
from ..codes_store.reader import CodesReader
from ..extraction.images import image_source, source_digest


class NumberedCaptions:
    """`NUMBER.npy`, where NUMBER is that of the image in its codes.

    `tools/extract_codes.py` numbers the images of a folder by their sorted paths (10.jpg comes before 2.jpg), and those of
    tars by tar and position; LlamaGen's folders of codes are numbered themselves.

    Raises:
        UserError: A store that left out images: the numbers of the others are no longer those of the data set.
    """

    def __init__(self, stores: list[CodesReader]) -> None:
        for store in stores:
            left_out = store.manifest.unreadable if isinstance(store, CodesStore) else ()
            if left_out:
                raise UserError(
                    f'{store.root} left out {len(left_out)} unreadable images (the first is {left_out[0]}), so its numbers '
                    'are no longer those of the data set; name the caption files like the images and add '
                    "images='FOLDER', what the codes were extracted from."
                )

    def __getitem__(self, image: int) -> str:
        return f'{image}.npy'


class CaptionsByName:
    """The path of the image in its data set with `.npy` in place of its extension; of an image in a tar, after the tar's name.

    Args:
        images: What the codes were extracted from, as `tools/extract_codes.py` was given it.
        stores: The codes.
        tar_labels: As `tools/extract_codes.py` was given it.

    Raises:
        UserError: These are not the images that the codes were made of.
    """

    def __init__(self, images: str, stores: list[CodesReader], tar_labels: Literal['cls', 'shard'] = 'cls') -> None:
        self.source: Any = image_source(images, tar_labels)
        digest = source_digest(self.source)
        for store in stores:
            if not isinstance(store, CodesStore):
                raise UserError(
                    f'{store.root} does not tell which images its codes are of; name the captions 0.npy, 1.npy, ... and '
                    'leave out images.'
                )
            if store.manifest.source_digest != digest:
                raise UserError(
                    f'the {len(self.source):,} images in {images} are not the {store.manifest.source_images:,} that the codes '
                    f'in {store.root} were made of ({store.manifest.source}), or have other names or labels now.'
                )
        self.numbers = self._numbers(stores)

    def __getitem__(self, image: int) -> str:
        number = image if self.numbers is None else int(self.numbers[image])
        name = self.source.names[number]
        if isinstance(self.source, TarShards):
            name = f'{self._tar(number).stem}/{name}'
        return f'{os.path.splitext(name)[0]}.npy'

    def _tar(self, number: int) -> PurePath:
        """The tar that holds an image of the source."""
        return PurePath(self.source.shards[self.source.shard_numbers[number]])

    def _name(self, number: int) -> str:
        """An image of the source, such as `cats/3.jpg`, or `00007.tar:3.jpg` in a tar."""
        name = self.source.names[number]
        return f'{self._tar(number).name}:{name}' if isinstance(self.source, TarShards) else name

    def _numbers(self, stores: list[CodesReader]) -> np.ndarray | None:
        """The number in the source of each image with codes; None if every image has them."""
        found = [left_out(store.manifest, self._name) for store in stores if isinstance(store, CodesStore)]
        for store, numbers in zip(stores[1:], found[1:], strict=True):
            if numbers != found[0]:
                roots = f'{stores[0].root} and {store.root}'
                raise UserError(f'{roots} left out different images; extract one of them again.')
        return np.delete(np.arange(len(self.source)), sorted(found[0])) if found[0] else None


def left_out(manifest: Manifest, name: Any) -> set[int]:
    """The numbers in the source of the images that a store has no codes of.

    The manifest has their paths as they were then, so the longest end of each that is a name of the source counts.
    `name` gives the source's name of an image's number. Raises if an image cannot be told.
    """
    if not manifest.unreadable:
        return set()
    ends = [[path[start:] for start in starts(path)] for path in manifest.unreadable]
    wanted = {end for path in ends for end in path}
    numbers = {found: number for number in range(manifest.source_images) if (found := name(number)) in wanted}
    told = {numbers[next(iter(known))] for path in ends if (known := [end for end in path if end in numbers])}
    if len(told) != manifest.source_images - manifest.images:
        raise UserError(
            f'of {manifest.source_images - manifest.images} images without codes {len(told)} are found again in the data set; '
            'remove them from it and extract the codes again.'
        )
    return told


def starts(path: str) -> list[int]:
    """Where the ends of a path start, the longest first."""
    return [0, *(index + 1 for index, letter in enumerate(path) if letter == '/')]
