"""Images in folders: one folder a class as ImageNet has them, a flat folder, or a list file."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from ..errors import UserError
from ..registry import DATASETS, TRANSFORMS
from .sample import Sample, sample_rng, to_tensor
from .transforms import CropTooLargeError

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.ppm', '.tif', '.tiff')
SUBSTITUTES = 10  # neighbours tried in place of an unreadable training image


def list_images(root: str, list_file: str | None) -> tuple[tuple[str, int], ...]:
    """(path, label) of every image, sorted; labels number the class folders, -1 without them."""
    base = Path(root)
    if list_file is not None:
        lines = [line.strip() for line in Path(list_file).read_text().splitlines()]
        return tuple(split_entry(base, line) for line in lines if line)
    classes = sorted(entry.name for entry in os.scandir(base) if entry.is_dir())
    found = [
        (os.path.join(folder, name), label)
        for label, class_name in enumerate(classes)
        for folder, _, names in os.walk(base / class_name)
        for name in names
        if name.lower().endswith(EXTENSIONS)
    ]
    flat = [
        (entry.path, -1) for entry in os.scandir(base) if entry.is_file() and entry.name.lower().endswith(EXTENSIONS)
    ]
    return tuple(sorted(found) + sorted(flat))


def split_entry(base: Path, line: str) -> tuple[str, int]:
    """A line of a list file: a path relative to the root, and optionally a label after the last space."""
    path, _, label = line.rpartition(' ')
    return (str(base / path), int(label)) if path and label.lstrip('-').isdigit() else (str(base / line), -1)


@DATASETS.register_module()
class ImageFolder(Dataset):
    """RGB images of a folder through PIL.

    Args:
        root: The folder. Class folders inside give labels; images right inside have label -1.
        transforms: Configs of components of `TRANSFORMS`, in order; end with a crop, so that images stack.
        list_file: A text file of paths relative to `root`, one a line, optionally with a label after a space.
        seed: Of the random transforms.

    Raises:
        UserError: The folder or the list does not exist, or holds no image.
    """

    def __init__(
        self,
        root: str,
        transforms: Sequence[Mapping[str, Any]] = (),
        list_file: str | None = None,
        seed: int = 0,
    ) -> None:
        if not os.path.isdir(root):
            raise UserError(f'ImageFolder: {root} is not a folder; set root to where the images are.')
        if list_file is not None and not os.path.isfile(list_file):
            raise UserError(f'ImageFolder: the list file {list_file} does not exist.')
        self.files = list_images(os.path.abspath(root), list_file)
        if not self.files:
            raise UserError(f'ImageFolder: no image ({", ".join(EXTENSIONS)}) in {list_file or root}.')
        self.transforms = [TRANSFORMS.build(transform) for transform in transforms]
        self.seed = seed

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int | tuple[int, int]) -> Sample:
        """The image at an index, or in training at (index, position in the data order).

        An unreadable image is reported; in training the next readable neighbour takes its place.
        """
        first, position = index if isinstance(index, tuple) else (index, index)
        tries = SUBSTITUTES if isinstance(index, tuple) else 1
        unreadable: list[str] = []
        for step in range(tries):
            path, label = self.files[(first + step) % len(self.files)]
            try:
                image = self._load(path, sample_rng(self.seed, position))
            except CropTooLargeError as error:
                return Sample(image=None, label=label, unreadable=unreadable, error=f'{path}: {error}')
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # what PIL raises on broken files
                unreadable.append(path)
            else:
                return Sample(image=to_tensor(image), label=label, unreadable=unreadable, error=None)
        return Sample(image=None, label=-1, unreadable=unreadable, error=None)

    def _load(self, path: str, rng: random.Random) -> Image.Image:
        with Image.open(path) as opened:
            image = opened.convert('RGB')
        for transform in self.transforms:
            image = transform(image, rng)
        return image

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """The bundled photos stand in: the left of each for training (random transforms), the right for evaluation."""
        names = [getattr(t['type'], '__name__', t['type']) for t in cfg.get('transforms', ())]
        train = any(name in ('ADMRandomCrop', 'HorizontalFlip') for name in names)
        return dict(_replace_=True, type='BundledPhotos', split='train' if train else 'eval', crop_size=64, crops=32)
