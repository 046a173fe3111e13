"""The images that codes are extracted from, and the digest that recognizes them."""

from __future__ import annotations

import hashlib
import io
from typing import Any, Literal

import numpy as np
from PIL import Image

from fvq_core.data.decoding import Orientation
from fvq_core.data.image_dataset import ImageDataset
from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.image_source import source_config
from fvq_core.data.packed_names import PackedNames
from fvq_core.data.photos import PHOTO_NAMES, load_photos, photo_parts
from fvq_core.data.tar_shards import TarShards
from fvq_core.errors import UserError

BUNDLED = 'bundled'
HELD_OUT = f'{BUNDLED}:eval'


class PhotoParts(ImageDataset):
    """One part of each of the ten bundled photos as an image; the label is the number of the photo.

    Args:
        split: `'train'`, all but the right quarter, or `'eval'`, the right quarter, as `BundledPhotos` splits them by default.
    """

    def __init__(self, split: Literal['train', 'eval'] = 'train') -> None:
        super().__init__()
        self.split: Literal['train', 'eval'] = split
        names = PHOTO_NAMES if split == 'train' else [f'{name}:{split}' for name in PHOTO_NAMES]
        self.names, self.labels = PackedNames.pack(names), np.arange(len(PHOTO_NAMES))

    def read(self, number: int) -> bytes:
        file = io.BytesIO()
        (part,) = photo_parts(load_photos()[PHOTO_NAMES[number]], self.split)
        Image.fromarray(part).save(file, 'png', compress_level=1)
        return file.getvalue()


def image_source(
    data: str, tar_labels: Literal['cls', 'shard'] = 'cls', exif_orientation: Orientation = 'apply'
) -> ImageFolder | TarShards | PhotoParts:
    """The images that a command line names.

    Args:
        data: A folder of images, a .tar path or pattern, a folder of .tar files, `bundled`, or `bundled:eval`.
        tar_labels: See `TarShards`.
        exif_orientation: See `ImageDataset`.
    """
    if data in (BUNDLED, HELD_OUT):
        return PhotoParts('train' if data == BUNDLED else 'eval')
    if data.startswith(f'{BUNDLED}:'):
        raise UserError(f"expected {BUNDLED} (training parts) or {HELD_OUT} (held-out parts), got '{data}'; name one.")
    config = source_config(data)
    if config.pop('type') == 'TarShards':
        return TarShards(**config, labels=tar_labels, exif_orientation=exif_orientation)
    return ImageFolder(**config, exif_orientation=exif_orientation)


def source_digest(images: Any) -> str:
    """SHA-256 of the names and labels of images, by which a store recognizes what it was made of."""
    digest = hashlib.sha256(images.names.text.tobytes())
    digest.update(images.names.ends.tobytes() + np.asarray(images.labels, dtype=np.int64).tobytes())
    return digest.hexdigest()
