"""Ten colour photographs that scikit-image and scikit-learn bundle: real data on any machine, without a download."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from ..errors import UserError
from ..registry import DATASETS
from .sample import Sample, sample_rng

TRAIN_SHARE = 0.75


def _photo_sources() -> dict[str, Callable[[], np.ndarray]]:
    try:
        from skimage import data
        from sklearn.datasets import load_sample_image
    except ImportError as error:
        raise UserError(
            f'the bundled photos need scikit-image and scikit-learn ({error}); pip install "fvq-core[photos]".'
        ) from error
    return {
        'astronaut': data.astronaut,
        'chelsea': data.chelsea,
        'coffee': data.coffee,
        'rocket': data.rocket,
        'motorcycle': lambda: data.stereo_motorcycle()[0],
        'hubble': data.hubble_deep_field,
        'ihc': data.immunohistochemistry,
        'retina': data.retina,
        'china': lambda: load_sample_image('china.jpg'),
        'flower': lambda: load_sample_image('flower.jpg'),
    }


PHOTO_NAMES = ('astronaut', 'chelsea', 'coffee', 'rocket', 'motorcycle', 'hubble', 'ihc', 'retina', 'china', 'flower')


@lru_cache(maxsize=1)
def load_photos() -> dict[str, np.ndarray]:
    """The photographs by name, uint8 (H, W, 3)."""
    sources = _photo_sources()
    return {name: np.ascontiguousarray(sources[name]()[..., :3]) for name in PHOTO_NAMES}


def photo_part(photo: np.ndarray, split: Literal['train', 'eval']) -> np.ndarray:
    """The left three quarters (train) or the right quarter (eval) of a photo; they share no pixel."""
    border = int(photo.shape[1] * TRAIN_SHARE)
    return photo[:, :border] if split == 'train' else photo[:, border:]


def shrunk(photo: np.ndarray, short_side: int) -> np.ndarray:
    """A photo with that short side, by area averages; a smaller one stays as it is."""
    height, width = photo.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1.0:
        return photo
    size = (round(width * scale), round(height * scale))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BOX))


@DATASETS.register_module()
class BundledPhotos(Dataset):
    """Square crops; the label is the number of the photo.

    Training crops are random and mirrored half the time. Evaluation crops are fixed, the same for every seed.

    Args:
        split: `'train'` or `'eval'`.
        crop_size: Side in pixels.
        crops: Number of crops: the length of an epoch in training, of the evaluation set otherwise.
        seed: Of the training crops.
        short_side: Shrink the photos to this short side first, so that a crop shows most of one; by default crops have
            full resolution.

    Raises:
        UserError: A photo's part is smaller than the crop.
    """

    def __init__(
        self,
        split: Literal['train', 'eval'],
        crop_size: int = 64,
        crops: int = 1000,
        seed: int = 0,
        short_side: int | None = None,
    ) -> None:
        if split not in ('train', 'eval'):
            raise UserError(f"BundledPhotos: split must be 'train' or 'eval', got '{split}'.")
        if crops < 1 or crop_size < 1:
            raise UserError(f'BundledPhotos: crops and crop_size must be 1 or more, got {crops} and {crop_size}.')
        self.split, self.crop_size, self.crops, self.seed = split, crop_size, crops, seed
        self.parts = {name: photo_part(photo, split) for name, photo in load_photos().items()}
        if short_side is not None:
            self.parts = {name: shrunk(part, short_side) for name, part in self.parts.items()}
        for name, part in self.parts.items():
            if min(part.shape[:2]) < crop_size:
                raise UserError(
                    f'BundledPhotos: the {split} part of {name} is {part.shape[1]}x{part.shape[0]}, smaller than the '
                    f'{crop_size}x{crop_size} crop; choose a smaller crop_size, or a larger short_side.'
                )

    def __len__(self) -> int:
        return self.crops

    def __getitem__(self, index: int | tuple[int, int]) -> Sample:
        """The crop at an index, or in training at (index, position in the data order)."""
        number, position = index if isinstance(index, tuple) else (index, index)
        rng = sample_rng(self.seed if self.split == 'train' else 0, position)
        label = number % len(PHOTO_NAMES)
        part = self.parts[PHOTO_NAMES[label]]
        top = rng.randrange(part.shape[0] - self.crop_size + 1)
        left = rng.randrange(part.shape[1] - self.crop_size + 1)
        crop = part[top : top + self.crop_size, left : left + self.crop_size]
        if self.split == 'train' and rng.random() < 0.5:
            crop = crop[:, ::-1]
        image = torch.from_numpy(crop.copy()).permute(2, 0, 1).contiguous()
        return Sample(image=image, label=label, unreadable=[], error=None)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """32 crops of 64 pixels."""
        return dict(crop_size=64, crops=32)
