"""The bundled photographs, whole and small enough to be shown side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch.utils.data import Dataset

from fvq_core.data.photos import PHOTO_NAMES, RIGHT_QUARTER, check_names, held_out_columns, load_photos
from fvq_core.data.sample import Sample, to_tensor
from fvq_core.errors import UserError
from fvq_core.registry import DATASETS

SIDE_MULTIPLE = 16  # tokenizers that downsample by 16 or less take the photos as they are


@DATASETS.register_module()
class WholePhotos(Dataset):
    """Each bundled photo once, resized to one height; the label is its number.

    Args:
        height: Pixels, a multiple of 16; the width follows, rounded to a multiple of 16.
        held_out: The quarter that training did not see, as `BundledPhotos` has it.
        photos: Their names; all by default.
        seed: Unused.
    """

    caption = 'Each photo beside its reconstruction. The bar marks the quarter that training never saw.'

    def __init__(
        self,
        height: int = 192,
        held_out: int = RIGHT_QUARTER,
        seed: int = 0,
        photos: Sequence[str] = PHOTO_NAMES,
    ) -> None:
        if height < SIDE_MULTIPLE or height % SIDE_MULTIPLE:
            raise UserError(f'WholePhotos: height must be a multiple of {SIDE_MULTIPLE}, got {height}.')
        check_names('WholePhotos', photos)
        self.height, self.held_out, self.photos = height, held_out, tuple(photos)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Sample:
        photo = Image.fromarray(load_photos()[self.photos[index]])
        width = round(photo.width * self.height / photo.height / SIDE_MULTIPLE) * SIDE_MULTIPLE
        image = to_tensor(photo.resize((width, self.height), Image.Resampling.LANCZOS))
        return Sample(image=image, label=PHOTO_NAMES.index(self.photos[index]), unreadable=[], error=None)

    def unseen(self, image: torch.Tensor) -> tuple[int, int]:
        """The columns of a photo (3, H, W) that training did not see: the first, and the first after them."""
        return held_out_columns(image.shape[-1], self.held_out)
