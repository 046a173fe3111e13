"""Image files for an evaluation: each is decoded once, then cropped in every way that is asked for."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fvq_core.data.decoding import RefusedImageError, UnreadableImageError, open_image, to_rgb
from fvq_core.data.image_dataset import ImageDataset
from fvq_core.data.sample import to_tensor
from fvq_core.errors import UserError
from fvq_core.registry import TRANSFORMS

from ..presets.preset import Crop
from ..samples.decoding import check_mode


class Cropped(TypedDict):
    """One image: its position in the set, and its crops as uint8 (3, S, S) by crop; None if it could not be read."""

    number: int
    crops: dict[Crop, Tensor] | None
    unreadable: str | None
    reason: str | None
    error: str | None


class CroppedFiles(Dataset):
    """The images of a data set of files, cropped.

    Greyscale, palette and CMYK files and opaque alpha become RGB as PIL converts them, which is what every released script
    does; like these, EXIF orientation is ignored. What has no 8-bit RGB pixels without a guess (16 bits, transparency, several
    frames) stops the evaluation with the file's name.

    Args:
        files: Dataset of the files; its own transforms are left out.
    """

    def __init__(self, files: ImageDataset, crops: Sequence[Crop]) -> None:
        self.files = files
        self.crops = {crop: TRANSFORMS.build(crop.config()) for crop in crops}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Cropped:
        number, name = index, self.files.name(index)
        try:
            opened = open_image(self.files.data(number))
            check_mode(opened, name, convert=True)
            image = to_rgb(opened, 'ignore')
            crops = {crop: to_tensor(cut(image, random.Random(0))) for crop, cut in self.crops.items()}
        except UserError as error:
            if isinstance(error, UnreadableImageError) and not isinstance(error, RefusedImageError):
                return Cropped(number=number, crops=None, unreadable=name, reason=str(error), error=None)
            message = str(error) if name in str(error) else f'{name}: {error}'
            return Cropped(number=number, crops=None, unreadable=None, reason=None, error=message)
        return Cropped(number=number, crops=crops, unreadable=None, reason=None, error=None)


def collate(samples: Sequence[Cropped]) -> dict[str, Any]:
    """Stack what could be read: `numbers` int64 (B,), `images` uint8 (B, 3, S, S) by crop or None, names, reasons, `error`."""
    read = [(sample['number'], crops) for sample in samples if (crops := sample['crops']) is not None]
    stacked: Mapping[Crop, Tensor] | None = None
    if read:
        stacked = {crop: torch.stack([crops[crop] for _, crops in read]) for crop in read[0][1]}
    return {
        'numbers': torch.tensor([number for number, _ in read], dtype=torch.int64),
        'images': stacked,
        'unreadable': [sample['unreadable'] for sample in samples if sample['unreadable']],
        'reasons': [sample['reason'] for sample in samples if sample['reason']],
        'error': next((sample['error'] for sample in samples if sample['error']), None),
    }


def load(
    files: CroppedFiles, rank: int, ranks: int, batch_size: int, workers: int, pin_memory: bool = False
) -> DataLoader:
    """This rank's share, in order and without padding: no image is counted twice."""
    share = range(rank, len(files), ranks)
    return DataLoader(
        files,
        batch_size=batch_size,
        sampler=share,  # pyrefly: ignore[bad-argument-type]
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
    )
