"""Images that stay on a device as uint8, and are cropped and mirrored there."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UserError
from .crop_window import Window, halved, shrunk_size
from .resize import resized_crops

MEMORY_SHARE = 0.25  # of the device's memory, at most, for the images of a data set


class StoreFullError(UserError):
    """The images of a data set take more memory than they may."""


@dataclass(frozen=True)
class KeptCrop:
    """A crop that `ImageStore.crops` will cut. Like an image of PIL it can be mirrored with `transpose`."""

    row: tuple[int, ...]  # of `resized_crops`, without the last number
    mirrored: bool = False

    def transpose(self, method: Image.Transpose) -> KeptCrop:
        assert method is Image.Transpose.FLIP_LEFT_RIGHT
        return replace(self, mirrored=not self.mirrored)

    def to_tensor(self) -> Tensor:
        """A row of `resized_crops`, int64 (8,)."""
        return torch.tensor([*self.row, self.mirrored])


@dataclass(frozen=True)
class KeptImage:
    """An image in a store. Like an image of PIL it has a width and a height, and `cut` takes it."""

    width: int
    height: int
    levels: dict[int, tuple[int, int, int]]  # by halvings: where it begins, H and W

    def cut(self, window: Window) -> KeptCrop:
        return KeptCrop((*self.levels[window.halvings], window.height, window.width, window.top, window.left))


class ImageStore:
    """Images of any sizes, one after the other in one tensor.

    Args:
        device: Where they stay.
        processes: Processes that share its memory, each with a store of its own.

    Attributes:
        limit: Bytes that the images may take: `MEMORY_SHARE` of the memory, or of what this process may use of a GPU's.
    """

    def __init__(self, device: torch.device, processes: int = 1) -> None:
        self.device, self.limit = device, int(MEMORY_SHARE * usable_memory(device) / processes)
        self.parts: list[Tensor] = []
        self.bytes = 0
        self.pixels_P = torch.empty(0, dtype=torch.uint8, device=device)

    def keep_all(
        self, read: Callable[[int], Image.Image], count: int, short_sides: tuple[int, int] | None = None
    ) -> list[Any]:
        """Read images, on all cores, and keep them on the device.

        Args:
            read: Gives an image by its number, from 0 to `count` - 1.
            short_sides: The shortest and the longest side that crops shrink the short side of an image to: it is then kept
                halved as often as `shrunk_size` says. None if crops are cut out of the images as they are.

        Returns:
            A `KeptImage` for each, or the error that `read` raised for it.

        Raises:
            StoreFullError: They do not fit.
        """

        def decoded(number: int) -> Any:
            try:
                image = read(number)
            except UserError as error:
                return error
            wanted = [shrunk_size(*image.size, side)[0] for side in short_sides or ()] or [0]
            return image.size, {n: np.asarray(halved(image, n)) for n in range(min(wanted), max(wanted) + 1)}

        kept: list[Any] = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # PIL decodes without the interpreter's lock
            for found in pool.map(decoded, range(count)):
                if isinstance(found, UserError):
                    kept.append(found)
                    continue
                (width, height), levels = found
                kept.append(KeptImage(width, height, {n: self._add(pixels) for n, pixels in levels.items()}))
                if self.bytes > self.limit:
                    pool.shutdown(cancel_futures=True)
                    raise StoreFullError(
                        f'{len(kept):,} of {count:,} images take {self.bytes / 2**20:,.1f} MiB, more than the '
                        f'{self.limit / 2**20:,.1f} MiB ({MEMORY_SHARE:.0%} of the memory of {self.device}) that a data set '
                        'may take on the device; use on_device=False'
                    )
        self._close()
        return kept

    def crops(self, windows_B8: Tensor, size: int) -> Tensor:
        """Crops, uint8 (B, 3, size, size) on the device, which nothing waits for; see `resized_crops` for their rows."""
        sides_2B, resized_2B = windows_B8.T[1:3], windows_B8.T[3:5]
        scale = 0.0 if torch.equal(sides_2B, resized_2B) else (sides_2B / resized_2B).max().item()
        if self.device.type == 'cuda':
            windows_B8 = windows_B8.pin_memory().to(self.device, non_blocking=True)
        return resized_crops(self.pixels_P, windows_B8, size, scale)

    def _add(self, pixels_HWC: np.ndarray) -> tuple[int, int, int]:
        start, (height, width, _) = self.bytes, pixels_HWC.shape
        self.parts.append(torch.from_numpy(pixels_HWC.transpose(2, 0, 1).copy()).flatten())
        self.bytes += pixels_HWC.size
        return start, height, width

    def _close(self) -> None:
        self.pixels_P = torch.empty(self.bytes, dtype=torch.uint8, device=self.device)
        parts, self.parts, start = self.parts[::-1], [], 0
        while parts:  # each is freed once it is copied
            part = parts.pop()
            self.pixels_P[start : start + len(part)] = part
            start += len(part)


def usable_memory(device: torch.device) -> int:
    """Bytes of a device's memory, or the share that this process may use of a GPU's."""
    if device.type == 'cuda':
        share = torch.cuda.get_per_process_memory_fraction(device)
        return int(torch.cuda.get_device_properties(device).total_memory * share)
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')


def keep(
    dataset: Any, on_device: bool | str, device: torch.device, processes: int, collate: Callable[[Any], dict[str, Any]]
) -> Callable[[Any], dict[str, Any]] | None:
    """Keep the images of a data set on a device, as a data loader's `on_device` asks for it.

    Args:
        dataset: Its method `keep` brings them into a store.
        on_device: True, False, or `'auto'` for True if they fit.
        processes: Processes of the run; those on a CPU share its memory.
        collate: Stacks samples.

    Returns:
        What then collates samples; None if the images are not kept.
    """
    if on_device not in (True, False, 'auto'):
        raise UserError(f"data loader: on_device must be True, False or 'auto', got '{on_device}'.")
    if on_device and not hasattr(dataset, 'keep'):
        raise UserError(f'data loader: on_device is for image data, not for {type(dataset).__name__}; leave it out.')
    store = ImageStore(device, processes if device.type == 'cpu' else 1)
    try:
        size = dataset.keep(store) if on_device else 0
    except UserError as error:
        if on_device != 'auto':
            raise
        logging.getLogger('fvq').info(f"on_device='auto': images are read for every batch. {error}")
        size = 0

    def collate_kept(samples: Any) -> dict[str, Any]:
        batch = collate(samples)
        return batch | {'images': None if batch['images'] is None else store.crops(batch['images'], size)}

    return collate_kept if size else None
