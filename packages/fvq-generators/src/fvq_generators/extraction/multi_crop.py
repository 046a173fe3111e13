"""Several crops of one image: what a generator is trained on, since its codes are made once and cannot be augmented.

A loader process cuts *windows*, as few pixels as the crops need; the *crops* are sliced out of them and mirrored on the
device. The ten crops of an image are then one window, an eighth of their bytes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from fvq_core.data.decoding import UnreadableImageError, decode
from fvq_core.data.image_dataset import ImageDataset
from fvq_core.data.sample import sample_rng, to_tensor
from fvq_core.data.transforms import ADMCenterCrop, ADMCrop, ADMRandomCrop
from fvq_core.errors import UserError
from fvq_core.ops.crop_window import Window, cut, shrunk_size

CROP_RANGE = 1.1  # LlamaGen's; its second store has 1.05
DRAWN = ('random', 'native')  # crops of which a command line says how many


class TenCrop:
    """Corners and centre of a slightly larger centre crop, then those of its mirror image: LlamaGen's ten.

    Args:
        size: Side of a crop in pixels.
        ranges: The centre crop is int(size x range); several give ten crops each. LlamaGen mixes 1.1 and 1.05.
        upsample: See `ADMCrop`.

    Attributes:
        count: A, the crops of one image, mirrored ones included.
        crops: What cuts the windows, in order.
    """

    def __init__(self, size: int, ranges: Sequence[float] = (CROP_RANGE,), upsample: bool = False) -> None:
        if not ranges or not all(1 <= value < 10 for value in ranges):
            raise UserError(f'TenCrop: a crop range lies between 1 and 10, such as 1.1 or 1.05; got {list(ranges)}.')
        self.size, self.ranges, self.count = size, tuple(ranges), 10 * len(ranges)
        self.crops: list[ADMCrop] = [ADMCenterCrop(int(size * value), upsample) for value in ranges]

    def from_windows(self, windows: Sequence[Tensor]) -> Tensor:
        """The windows of n images, uint8 (n, 3, s, s) each, to their crops, uint8 (n, A, 3, size, size)."""
        found = [crop for window in windows for image in (window, window.flip(-1)) for crop in self._five(image)]
        return torch.stack(found, dim=1)

    def _five(self, window: Tensor) -> list[Tensor]:
        """Corners in reading order, then the centre, as torchvision's `TenCrop` has them."""
        size, rest = self.size, window.shape[-1] - self.size
        middle = round(rest / 2)
        corners = [(0, 0), (0, rest), (rest, 0), (rest, rest), (middle, middle)]
        return [window[..., top : top + size, left : left + size] for top, left in corners]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description."""
        return dict(kind='ten', size=self.size, ranges=list(self.ranges), flip=True, count=self.count)


class NativeCrop(ADMCrop):
    """A random square of `size` pixels of the image as it is; one that is too small is enlarged if `upsample`."""

    def _window(self, width: int, height: int, rng: random.Random) -> Window:
        if min(width, height) < self.size:
            _, width, height = shrunk_size(width, height, self.size)
        top, left = rng.randrange(height - self.size + 1), rng.randrange(width - self.size + 1)
        return Window(0, width, height, left, top, self.size)


class SeparateCrops:
    """Crops that share no window: the centre, or random ones; mirrored ones follow. See `TenCrop`.

    Args:
        crop: Cuts one.
        number: Crops of an image.
        flip: Whether to take the mirror image of each too.
    """

    def __init__(self, crop: ADMCrop, number: int = 1, flip: bool = False) -> None:
        if number < 1:
            raise UserError(f'--crops: expected 1 crop of an image or more, got {number}; take one or more.')
        self.crop, self.flip, self.count = crop, flip, number * (1 + flip)
        self.crops = [crop] * number

    def from_windows(self, windows: Sequence[Tensor]) -> Tensor:
        crops = torch.stack(list(windows), dim=1)
        return torch.cat([crops, crops.flip(-1)], dim=1) if self.flip else crops

    def to_dict(self) -> dict[str, Any]:
        crop = self.crop
        drawn: dict[str, Any] = dict(kind='native' if isinstance(crop, NativeCrop) else 'center')
        if isinstance(crop, ADMRandomCrop):
            drawn = dict(kind='random', min_fraction=crop.min_fraction, max_fraction=crop.max_fraction)
        return dict(drawn, size=crop.size, flip=self.flip, count=self.count)


MultiCrop = TenCrop | SeparateCrops


def parse_crops(
    crops: Sequence[str], size: int, flip: bool = False, ranges: Sequence[float] | None = None, upsample: bool = False
) -> MultiCrop:
    """The crops that a command line asks for.

    Args:
        crops: `['ten']`, `['center']`, `['random', N]` or `['native', N]`.
        size: Side of a crop in pixels.
        flip: Mirror images of other crops too; the ten crops have theirs already.
        ranges: Ranges of the ten crops, by default 1.1; of random ones the smallest and the largest share of the short
            side, by default 0.8 and 1.
        upsample: Enlarge images that are too small.
    """
    kind, *rest = crops
    number = int(rest[0]) if len(rest) == 1 and rest[0].isdigit() else None
    if kind not in ('ten', 'center', *DRAWN) or (number is None if kind in DRAWN else rest):
        raise UserError(
            f"--crops takes 'ten', 'center', 'random N' or 'native N' with a whole number N, got '{' '.join(crops)}'."
        )
    if ranges and kind not in ('ten', 'random'):
        raise UserError(f'--crop-range is for --crops ten and random, not for {kind}; leave it out.')
    if kind == 'ten':
        return TenCrop(size, ranges or (CROP_RANGE,), upsample)
    if kind == 'center':
        return SeparateCrops(ADMCenterCrop(size, upsample), 1, flip)
    if kind == 'native':
        return SeparateCrops(NativeCrop(size, upsample), number or 0, flip)
    if ranges and len(ranges) != 2:
        given = ' '.join(map(str, ranges))
        raise UserError(
            f'--crop-range: random crops take the smallest and the largest share, such as 0.8 1; got {given}.'
        )
    return SeparateCrops(ADMRandomCrop(size, *(ranges or ()), upsample=upsample), number or 0, flip)


class ImageWindows(Dataset):
    """The windows of each image of a dataset, each file opened and decoded once.

    An item is `number`, `windows` (uint8 (3, s, s) each; None if the file cannot be read), the `reason` why it cannot, and
    `error`, an error of the user carried out of a loader process.

    Args:
        images: The images; their own transforms are not used.
        multi_crop: What to cut.
        seed: Seed of random crops: they depend only on it and on the image's number.
    """

    def __init__(self, images: ImageDataset, multi_crop: MultiCrop, seed: int = 0) -> None:
        self.images, self.multi_crop, self.seed = images, multi_crop, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            image = decode(self.images.data(index), self.images.exif_orientation)
            windows = self._cut(image, sample_rng(self.seed, index))
        except UnreadableImageError as error:
            return dict(number=index, windows=None, reason=str(error), error=None)
        except UserError as error:  # not the file's fault
            return dict(number=index, windows=None, reason=None, error=f'{self.images.name(index)}: {error}')
        return dict(number=index, windows=windows, reason=None, error=None)

    def _cut(self, image: Image.Image, rng: random.Random) -> list[Tensor]:
        windows = [crop.window(image.width, image.height, rng) for crop in self.multi_crop.crops]
        return [to_tensor(cut(image, window)) for window in windows]

    @staticmethod
    def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """`numbers` of the images that were read, `windows` (n, 3, s, s) each, `unreadable` numbers and `reasons`, `error`."""
        read = [item for item in items if item['windows'] is not None]
        return dict(
            numbers=[item['number'] for item in read],
            windows=[torch.stack(same) for same in zip(*(item['windows'] for item in read), strict=True)],
            unreadable=[item['number'] for item in items if item['reason']],
            reasons=[item['reason'] for item in items if item['reason']],
            error=next((item['error'] for item in items if item['error']), None),
        )
