"""The images that codes are extracted from, and the digest that recognizes them."""

from __future__ import annotations

import hashlib
import io
import re
from typing import Any, Literal

import numpy as np
from PIL import Image

from fvq_core.data.decoding import Orientation
from fvq_core.data.image_dataset import ImageDataset
from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.image_source import source_config
from fvq_core.data.packed_names import PackedNames
from fvq_core.data.photos import PHOTO_NAMES, RIGHT_QUARTER, load_photos, photo_parts
from fvq_core.data.tar_shards import TarShards
from fvq_core.errors import UserError

BUNDLED = 'bundled'
PHOTOS = re.compile(rf'{BUNDLED}(:eval)?(:[0-3])?')


class PhotoParts(ImageDataset):
    """Parts of the ten bundled photos as images; the label is the number of the photo.

    Args:
        split: `'eval'`, the quarter that is held out, or `'train'`, what is left and right of it, each an image of its own.
        held_out: That quarter, as `BundledPhotos` has it.
    """

    def __init__(self, split: Literal['train', 'eval'] = 'train', held_out: int = RIGHT_QUARTER) -> None:
        super().__init__()
        self.split: Literal['train', 'eval'] = split
        self.held_out = held_out
        self.sides = 2 if split == 'train' and held_out in (1, 2) else 1
        ends = [f':{split}' if split == 'eval' else '', ':right'][: self.sides]
        names = [f'{name}{end}' for name in PHOTO_NAMES for end in ends]
        self.names, self.labels = PackedNames.pack(names), np.arange(len(names)) // self.sides

    def read(self, number: int) -> bytes:
        file = io.BytesIO()
        photo, side = divmod(number, self.sides)
        part = photo_parts(load_photos()[PHOTO_NAMES[photo]], self.split, self.held_out)[side]
        Image.fromarray(part).save(file, 'png', compress_level=1)
        return file.getvalue()


def image_source(
    data: str, tar_labels: Literal['cls', 'shard'] = 'cls', exif_orientation: Orientation = 'apply'
) -> ImageFolder | TarShards | PhotoParts:
    """The images that a command line names.

    Args:
        data: A folder of images, a .tar path or pattern, a folder of .tar files, `bundled`, or `bundled:eval`; the last two
            with another quarter held out than the right one, 0 to 3 from left to right, are `bundled:2` and `bundled:eval:2`.
        tar_labels: See `TarShards`.
        exif_orientation: See `ImageDataset`.
    """
    if photos := PHOTOS.fullmatch(data):
        held_out = RIGHT_QUARTER if photos[2] is None else int(photos[2][1:])
        return PhotoParts('eval' if photos[1] else 'train', held_out)
    if data.startswith(f'{BUNDLED}:'):
        raise UserError(
            f'expected {BUNDLED} (training parts) or {BUNDLED}:eval (held-out parts), with :0 to :3 for another quarter to '
            f"hold out, got '{data}'; name one."
        )
    config = source_config(data)
    if config.pop('type') == 'TarShards':
        return TarShards(**config, labels=tar_labels, exif_orientation=exif_orientation)
    return ImageFolder(**config, exif_orientation=exif_orientation)


def source_digest(images: Any) -> str:
    """SHA-256 of the names and labels of images, by which a store recognizes what it was made of."""
    digest = hashlib.sha256(images.names.text.tobytes())
    digest.update(images.names.ends.tobytes() + np.asarray(images.labels, dtype=np.int64).tobytes())
    return digest.hexdigest()
