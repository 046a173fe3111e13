"""Base of the datasets of image files: decoding, transforms, and files that cannot be read."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import UserError
from ..registry import TRANSFORMS
from .decoding import Orientation, UnreadableImageError, decode, open_image
from .packed_names import PackedNames
from .sample import Sample, check_index, sample_rng, to_tensor
from .transforms import ADMCrop, HorizontalFlip

if TYPE_CHECKING:
    from ..ops.image_store import ImageStore
    from .jpeg import JPEGCrop

MAX_SUBSTITUTES = 10  # neighbours tried as a substitute for an unreadable training image


class ImageDataset(Dataset):
    """RGB images from files. A subclass sets `names` and `labels`, and has `read`.

    Args:
        transforms: Configs of components of `TRANSFORMS`, in order; end with a crop, so that images stack.
        decoder: `'pil'`, the reference, or `'auto'`: torchvision if its crops differ from PIL's by at most 2 of 255
            (`JPEGCrop`), otherwise PIL. Draws and windows are the same. It needs an ADM crop as the first transform.
        seed: Seed of the random transforms.
        exif_orientation: `'apply'` rotates photos upright as their EXIF tag says. `'ignore'` takes the pixels as stored,
            as the released training and evaluation scripts for ImageNet do.
    """

    names: PackedNames
    labels: np.ndarray  # int64, -1 without a label

    def __init__(
        self,
        transforms: Sequence[Mapping[str, Any]] = (),
        decoder: Literal['pil', 'auto'] = 'pil',
        seed: int = 0,
        exif_orientation: Orientation = 'apply',
    ) -> None:
        kind = type(self).__name__
        if exif_orientation not in ('apply', 'ignore'):
            raise UserError(f"{kind}: exif_orientation must be 'apply' or 'ignore', got '{exif_orientation}'.")
        self.exif_orientation: Orientation = exif_orientation
        built = [TRANSFORMS.build(transform) for transform in transforms]
        names = ', '.join(type(transform).__name__ for transform in built) or 'none'
        on_device = [isinstance(transform, HorizontalFlip) and transform.on_device for transform in built]
        if any(on_device[:-1]):
            raise UserError(
                f'HorizontalFlip: on_device=True must be the last transform, got {names}; move it to the end.'
            )
        self.device_flip: HorizontalFlip | None = built.pop() if any(on_device) else None
        self.jpeg_crop: JPEGCrop | None = None
        if decoder == 'auto':
            crops = built and isinstance(built[0], ADMCrop)
            if not crops or not all(isinstance(transform, HorizontalFlip) for transform in built[1:]):
                raise UserError(
                    f"{kind}: decoder='auto' needs an ADM crop as the first transform and nothing but flips after it, "
                    f"got {names}; use decoder='pil'."
                )
            from .jpeg import JPEGCrop  # importing torchvision takes seconds, and loading a tokenizer does not need it

            self.jpeg_crop = JPEGCrop(built.pop(0), exif_orientation)
        elif decoder != 'pil':
            raise UserError(f"{kind}: decoder must be 'pil' or 'auto', got '{decoder}'.")
        self.transforms, self.seed = built, seed
        self.kept: list[Any] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def name(self, number: int) -> str:
        """The name of an image in messages."""
        return self.names[number]

    def label(self, number: int) -> int:
        """The class id of an image, -1 without one."""
        return int(self.labels[number])

    def read(self, number: int) -> bytes:
        """The bytes of an image file; an OSError if it cannot be read."""
        raise NotImplementedError

    def data(self, number: int) -> bytes:
        """`read`, with its failure as an `UnreadableImageError`."""
        try:
            return self.read(number)
        except OSError as error:
            raise UnreadableImageError(f'the file cannot be read: {error.strerror or error}') from error

    def __getitem__(self, index: int | tuple[int, int]) -> Sample:
        """The image at an index, or in training at (index, position in the data order).

        An unreadable image is reported; in training the next readable neighbour takes its place.
        """
        check_index(self, index)
        first, position = index if isinstance(index, tuple) else (index, index)
        reasons: list[str] = []
        sample = Sample(image=None, label=-1, unreadable=[], reasons=reasons, error=None)
        for step in range(MAX_SUBSTITUTES if isinstance(index, tuple) else 1):
            number = (first + step) % len(self)
            try:
                sample['image'], sample['flip'] = self._load(number, sample_rng(self.seed, position))
            except UnreadableImageError as error:
                sample['unreadable'].append(self.name(number))
                reasons.append(str(error))
                continue
            except UserError as error:  # not because of the file
                sample['error'] = f'{self.name(number)}: {error}'
            sample['label'] = self.label(number)
            break
        return sample

    def keep(self, store: ImageStore) -> int:
        """Keep all images in a store: samples are then rows of its `crops`, whose side is returned."""
        crop, *flips = self.transforms or [None]
        if not isinstance(crop, ADMCrop) or not all(isinstance(flip, HorizontalFlip) for flip in flips):
            names = ', '.join(type(transform).__name__ for transform in self.transforms) or 'others'
            raise UserError(
                f"{type(self).__name__}: on_device=True needs decoder='pil', an ADM crop as the first transform and nothing "
                f'but flips after it, got {names}; use on_device=False.'
            )
        self.kept = store.keep_all(self._decode, len(self), crop.short_sides)
        return crop.size

    def _decode(self, number: int) -> Image.Image:
        return decode(self.data(number), self.exif_orientation)

    def _load(self, number: int, rng: random.Random) -> tuple[Tensor, bool]:
        """The transformed image, uint8 (3, H, W), and whether the device should mirror it."""
        if self.jpeg_crop is not None:
            data = self.data(number)
            image = self.jpeg_crop(open_image(data), data, rng)
        else:
            image = self._decode(number) if self.kept is None else self.kept[number]
        if isinstance(image, UserError):
            raise type(image)(str(image))
        for transform in self.transforms:
            image = transform(image, rng)
        flip = self.device_flip is not None and self.device_flip.draw(rng)
        return image if isinstance(image, Tensor) else to_tensor(image), flip

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """The bundled photos as a stand-in: their left for training (random transforms), their right for evaluation."""
        names = [getattr(t['type'], '__name__', t['type']) for t in cfg.get('transforms', ())]
        train = any(name in ('ADMRandomCrop', 'HorizontalFlip') for name in names)
        return dict(_replace_=True, type='BundledPhotos', split='train' if train else 'eval', crop_size=64, crops=32)
