"""The bundled photographs as a whole, small enough to look at side by side."""

from __future__ import annotations

import torch
from PIL import Image
from torch.utils.data import Dataset

from ..errors import UserError
from ..registry import DATASETS
from .photos import PHOTO_NAMES, TRAIN_SHARE, load_photos
from .sample import Sample, to_tensor

MULTIPLE = 16  # sides are multiples of it, so that tokenizers of f = 16 or less take the photos as they are


@DATASETS.register_module()
class WholePhotos(Dataset):
    """Each bundled photo once, resized to one height; the label is its number.

    `BundledPhotos` trains on the left three quarters: `unseen_from` says where that ends.

    Args:
        height: In pixels, a multiple of 16; the width follows, rounded to a multiple of 16.
        seed: Not used.

    Raises:
        UserError: The height is not a multiple of 16.
    """

    caption = 'Each photo beside its reconstruction. The bar marks the right quarter, which training never saw.'

    def __init__(self, height: int = 192, seed: int = 0) -> None:
        if height < MULTIPLE or height % MULTIPLE:
            raise UserError(f'WholePhotos: height must be a multiple of {MULTIPLE}, got {height}.')
        self.height = height

    def __len__(self) -> int:
        return len(PHOTO_NAMES)

    def __getitem__(self, index: int) -> Sample:
        photo = Image.fromarray(load_photos()[PHOTO_NAMES[index]])
        width = round(photo.width * self.height / photo.height / MULTIPLE) * MULTIPLE
        image = to_tensor(photo.resize((width, self.height), Image.Resampling.LANCZOS))
        return Sample(image=image, label=index, unreadable=[], error=None)

    @staticmethod
    def unseen_from(image: torch.Tensor) -> int:
        """The first column of a photo (3, H, W) that training did not see."""
        return int(image.shape[-1] * TRAIN_SHARE)
