"""Ten colour photographs that scikit-image and scikit-learn bundle: real data on any machine, without a download."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from ..errors import UserError
from ..ops.crop_window import Window, cut
from ..ops.image_store import ImageStore
from ..registry import DATASETS
from .sample import Sample, check_index, sample_rng, to_tensor

RIGHT_QUARTER = 3  # held out for evaluation by default
PHOTO_NAMES = ('astronaut', 'chelsea', 'coffee', 'rocket', 'motorcycle', 'hubble', 'ihc', 'retina', 'china', 'flower')


@lru_cache(maxsize=1)
def load_photos() -> dict[str, np.ndarray]:
    """The photographs by name, uint8 (H, W, 3)."""
    try:
        from skimage import data
        from sklearn.datasets import load_sample_image
    except ImportError as error:
        raise UserError(
            f'the bundled photos need scikit-image and scikit-learn ({error}); pip install "fvq-core[photos]".'
        ) from error
    photos = [
        *(data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.stereo_motorcycle()[0]),
        *(data.hubble_deep_field(), data.immunohistochemistry(), data.retina()),
        *(load_sample_image('china.jpg'), load_sample_image('flower.jpg')),
    ]
    return {name: np.ascontiguousarray(photo[..., :3]) for name, photo in zip(PHOTO_NAMES, photos, strict=True)}


def check_names(owner: str, photos: Sequence[str]) -> None:
    """Raise if there are no photos of these names, or there is no name."""
    if not photos or not {*PHOTO_NAMES}.issuperset(photos):
        raise UserError(f'{owner}: photos must be some of {", ".join(PHOTO_NAMES)}, got {", ".join(photos) or "none"}.')


def held_out_columns(width: int, quarter: int) -> tuple[int, int]:
    """The first column of a quarter of a photo, 0 to 3 from left to right, and the first one after it."""
    return int(width * 0.25 * quarter), int(width * 0.25 * (quarter + 1))


def photo_parts(photo: np.ndarray, split: Literal['train', 'eval'], held_out: int = RIGHT_QUARTER) -> list[np.ndarray]:
    """The held-out quarter of a photo (eval), or the parts to its left and right (train); they share no pixel."""
    first, end = held_out_columns(photo.shape[1], held_out)
    parts = [photo[:, first:end]] if split == 'eval' else [photo[:, :first], photo[:, end:]]
    return [part for part in parts if part.size]


def shrunk(photo: np.ndarray, scale: float) -> np.ndarray:
    """A photo shrunk by a factor, with a box filter; unchanged if the factor is 1 or more."""
    if scale >= 1.0:
        return photo
    size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BOX))


@DATASETS.register_module()
class BundledPhotos(Dataset):
    """Square crops; the label is the number of the photo.

    Training crops are random and mirrored half the time. Evaluation crops are fixed, the same for every seed.

    Args:
        crop_size: Side in pixels.
        crops: Number of crops: the length of an epoch in training, of the evaluation set otherwise.
        seed: Seed of the training crops.
        short_side: Shrink the part of each photo to this short side first, so that a crop shows most of it; by default
            crops have full resolution.
        held_out: The quarter of each photo that is for evaluation only, 0 to 3 from left to right.
        photos: Names of the photos to use; all of `PHOTO_NAMES` by default.
    """

    def __init__(
        self,
        split: Literal['train', 'eval'],
        crop_size: int = 64,
        crops: int = 1000,
        seed: int = 0,
        short_side: int | None = None,
        held_out: int = RIGHT_QUARTER,
        photos: Sequence[str] = PHOTO_NAMES,
    ) -> None:
        if split not in ('train', 'eval'):
            raise UserError(f"BundledPhotos: split must be 'train' or 'eval', got '{split}'.")
        if crops < 1 or crop_size < 1:
            raise UserError(f'BundledPhotos: crops and crop_size must be 1 or more, got {crops} and {crop_size}.')
        if held_out not in range(4):
            raise UserError(f'BundledPhotos: held_out must be a quarter, 0 to 3 from left to right, got {held_out}.')
        check_names('BundledPhotos', photos)
        self.split, self.crop_size, self.crops, self.seed = split, crop_size, crops, seed
        self.parts: dict[str, list[Any]] = {}  # images of PIL, or kept ones
        for name in photos:
            photo = load_photos()[name]
            parts = photo_parts(photo, split, held_out)
            if short_side is not None:
                scale = short_side / min(photo.shape[0], sum(part.shape[1] for part in parts))
                parts = [shrunk(part, scale) for part in parts]
            self.parts[name] = [Image.fromarray(part) for part in parts if min(part.shape[:2]) >= crop_size]
            if not self.parts[name]:
                height, width = max((part.shape[:2] for part in parts), key=min)
                raise UserError(
                    f'BundledPhotos: the {split} part of {name} is {width}x{height}, smaller than the '
                    f'{crop_size}x{crop_size} crop; choose a smaller crop_size, or a larger short_side.'
                )

    def __len__(self) -> int:
        return self.crops

    def __getitem__(self, index: int | tuple[int, int]) -> Sample:
        """The crop at an index, or in training at (index, position in the data order)."""
        check_index(self, index)
        number, position = index if isinstance(index, tuple) else (index, index)
        rng = sample_rng(self.seed if self.split == 'train' else 0, position)
        name = [*self.parts][number % len(self.parts)]
        label, parts = PHOTO_NAMES.index(name), self.parts[name]
        columns = [part.width - self.crop_size + 1 for part in parts]
        top = rng.randrange(parts[0].height - self.crop_size + 1)
        column = rng.randrange(sum(columns))
        right = column >= columns[0]  # of the held-out quarter
        part, left = parts[right], column - right * columns[0]
        crop = cut(part, Window(0, part.width, part.height, left, top, self.crop_size))
        if self.split == 'train' and rng.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return Sample(image=to_tensor(crop), label=label, unreadable=[], error=None)

    def keep(self, store: ImageStore) -> int:
        """See `ImageDataset.keep`."""
        images = [part for parts in self.parts.values() for part in parts]
        kept = iter(store.keep_all(images.__getitem__, len(images)))
        self.parts = {name: [next(kept) for _ in parts] for name, parts in self.parts.items()}
        return self.crop_size

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """32 crops of 64 pixels."""
        return dict(crop_size=64, crops=32)
