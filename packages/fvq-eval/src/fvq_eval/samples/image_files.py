"""Image sets that are files: folders, and tar or zip files of images."""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fvq_core.data.decoding import open_image
from fvq_core.data.image_dataset import ImageDataset
from fvq_core.errors import UserError
from fvq_core.registry import TRANSFORMS

from .decoding import check_mode, decode, naming
from .samples import Samples

AHEAD = 2  # blocks that are decoded before they are asked for


class ImageFileSamples(Samples):
    """The images of a dataset of files, in its order; not cropped unless a crop is given.

    Args:
        kind: `'folder'`, `'tar'` or `'zip'`.
        labels_N: int64 class of every image, -1 without one.
        convert: See `check_mode`.
        crop: Config of a transform that cuts squares of `size` pixels; None for images that all have one size already.
    """

    def __init__(
        self,
        path: str,
        kind: str,
        dataset: ImageDataset,
        labels_N: np.ndarray,
        convert: bool = False,
        crop: Mapping[str, Any] | None = None,
        workers: int = 4,
    ) -> None:
        self.kind, self.dataset, self.convert, self.workers = kind, dataset, convert, max(workers, 1)
        self.crop, self.crop_config = TRANSFORMS.build(crop) if crop else None, dict(crop or {})
        with naming(dataset.name(0)):
            image = open_image(dataset.data(0))
            height, width = (crop['size'], crop['size']) if crop else (image.height, image.width)
        super().__init__(path, height, width, labels_N)

    def file(self, number: int) -> bytes:
        """The file of an image."""
        with naming(self.dataset.name(number)):
            return self.dataset.data(number)

    def digests(self, blocks: Sequence[int]) -> Iterator[str]:
        for block in blocks:
            digest = hashlib.sha256(repr(sorted(self.crop_config.items())).encode() if self.crop_config else b'')
            for number in self.numbers(block):
                data = self.file(number)
                self.converted += self.check(number, data)
                digest.update(len(data).to_bytes(8, 'little'))
                digest.update(data)
            yield digest.hexdigest()

    def check(self, number: int, data: bytes) -> bool:
        """Check the header of an image, and return whether it must be converted."""
        name = self.dataset.name(number)
        with naming(name):
            image = open_image(data)
        if self.crop is None and (image.height, image.width) != (self.height, self.width):
            raise UserError(
                f'{name}: expected {self.height}x{self.width} like the first image ({self.dataset.name(0)}), got '
                f'{image.height}x{image.width}; a set has one size: cut all of them with --crop, or keep them apart.'
            )
        return check_mode(image, name, self.convert)

    def read(self, blocks: Sequence[int]) -> Iterator[Tensor]:
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: deque[list[Future[np.ndarray]]] = deque()
            try:
                for block in blocks:
                    waiting.append([pool.submit(self.pixels, number) for number in self.numbers(block)])
                    if len(waiting) > AHEAD:
                        yield stack(waiting.popleft())
                while waiting:
                    yield stack(waiting.popleft())
            finally:
                for future in (future for futures in waiting for future in futures):
                    future.cancel()

    def pixels(self, number: int) -> np.ndarray:
        """One image, uint8 (H, W, 3)."""
        name = self.dataset.name(number)
        pixels = decode(self.file(number), name)
        if self.crop is None:
            return pixels
        try:
            return np.asarray(self.crop(Image.fromarray(pixels), random.Random(0)))
        except UserError as error:
            raise UserError(f'{name}: {error}') from error


def stack(images: Sequence[Future[np.ndarray]]) -> Tensor:
    """Decoded images as uint8 (n, 3, H, W)."""
    return torch.from_numpy(np.stack([image.result() for image in images])).permute(0, 3, 1, 2).contiguous()
