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

BUNDLED = 'bundled'


class PhotoParts(ImageDataset):
    """The training parts of the ten bundled photos, one whole image each; the label is the number of the photo."""

    def __init__(self) -> None:
        super().__init__()
        self.names, self.labels = PackedNames.pack(PHOTO_NAMES), np.arange(len(PHOTO_NAMES))

    def read(self, number: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(photo_parts(load_photos()[PHOTO_NAMES[number]], 'train')[0]).save(file, 'png', compress_level=1)
        return file.getvalue()


def image_source(
    data: str, tar_labels: Literal['cls', 'shard'] = 'cls', exif_orientation: Orientation = 'apply'
) -> ImageFolder | TarShards | PhotoParts:
    """The images that a command line names.

    Args:
        data: A folder of images, a .tar path or pattern, a folder of .tar files, or `bundled`.
        tar_labels: See `TarShards`.
        exif_orientation: See `ImageDataset`.
    """
    if data == BUNDLED:
        return PhotoParts()
    config = source_config(data)
    if config.pop('type') == 'TarShards':
        return TarShards(**config, labels=tar_labels, exif_orientation=exif_orientation)
    return ImageFolder(**config, exif_orientation=exif_orientation)


def source_digest(images: Any) -> str:
    """SHA-256 of the names and labels of images, by which a store recognizes what it was made of."""
    digest = hashlib.sha256(images.names.text.tobytes())
    digest.update(images.names.ends.tobytes() + np.asarray(images.labels, dtype=np.int64).tobytes())
    return digest.hexdigest()
