"""Photos cut into squares that do not overlap, so that no position of an evaluation set counts twice."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from torch import Tensor

from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.packed_names import PackedNames
from fvq_core.data.sample import to_tensor
from fvq_core.errors import UserError
from fvq_core.ops.crop_window import Window, cut, shrunk_size
from fvq_core.registry import DATASETS


@DATASETS.register_module()
class PhotoTiles(ImageFolder):
    """The centre square of every photo of a folder as tiles; labels number the photos.

    Every photo gives its first tile before any gives its second.

    Args:
        root: The folder, of any depth.
        crop_size: Side of a tile in pixels.
        side: Photos are shrunk to this short side first; a multiple of `crop_size`.
        seed: Not used: nothing is drawn.
    """

    def __init__(self, root: str, crop_size: int, side: int, seed: int = 0) -> None:
        if crop_size < 1 or side < crop_size or side % crop_size:
            raise UserError(f'PhotoTiles: side must be a multiple of crop_size, got {side} and {crop_size}.')
        super().__init__(root, seed=seed)
        self.crop_size, self.side, self.across = crop_size, side, side // crop_size
        photos = [self.names[number] for number in range(len(self.names))]
        self.photos = len(photos)
        self.names = PackedNames.pack(photos * self.across**2)
        self.labels = np.tile(np.arange(self.photos), self.across**2)

    def _load(self, number: int, rng: random.Random) -> tuple[Tensor, bool]:
        image = self._decode(number)
        if min(image.size) < self.side:
            raise UserError(
                f'PhotoTiles: the photo is {image.width}x{image.height}; its short side must have {self.side}.'
            )
        halvings, width, height = shrunk_size(image.width, image.height, self.side)
        row, column = divmod(number // self.photos, self.across)
        left, top = ((length - self.side) // 2 for length in (width, height))
        at = left + column * self.crop_size, top + row * self.crop_size
        return to_tensor(cut(image, Window(halvings, width, height, *at, self.crop_size))), False

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """The right of the bundled photos."""
        return dict(_replace_=True, type='BundledPhotos', split='eval', crop_size=64, crops=32)
