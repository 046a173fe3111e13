"""From image files to shards of codes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import Codes, LatentLayout
from fvq_core.errors import NonFiniteError, UserError
from fvq_core.files.paths import printable
from fvq_core.images import from_uint8
from fvq_core.ops.finite import DeferredChecks, deferred_checks

from ..codes_store.manifest import Manifest
from ..codes_store.writer import refuse_unreadable
from .multi_crop import ImageWindows

logger = logging.getLogger('fvq')


@torch.inference_mode()
def encode_crops(
    tokenizer: Autoencoder, crops_NCHW: Tensor, batch_size: int, precision: str = 'float32', latents: bool = False
) -> Iterator[Tensor]:
    """What is `stored` of crops, uint8 (N, 3, size, size), `batch_size` at a time.

    Codes are searched in float32 whatever the precision of the encoder.
    """
    device = crops_NCHW.device
    for batch in crops_NCHW.split(batch_size):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == 'bfloat16'):
            yield stored(tokenizer, from_uint8(batch), latents)


def stored(tokenizer: Autoencoder, images_BCHW: Tensor, latents: bool = False) -> Tensor:
    """What a store keeps of images: int32 codes (B, L), float32 latents (B, D, ...) or moments (B, 2D, ...).

    `latents` asks a tokenizer of codes for what it would quantize.
    """
    if tokenizer.variational:
        moments = tokenizer.posterior(images_BCHW).moments()
        tokenizer.check_finite(moments)
        return moments.float()
    encoded = tokenizer.latents(images_BCHW) if latents else tokenizer.encode(images_BCHW)
    return encoded.indices_BL.int() if isinstance(encoded, Codes) else encoded.values.float()


@contextmanager
def named(names: Sequence[str]) -> Iterator[None]:
    """Name the first and the last image of a batch in an error."""
    try:
        yield
    except NonFiniteError as error:
        raise NonFiniteError(f'images from {names[0]} to {names[1]}: {error}') from error


class Unfinished(NamedTuple):
    """A batch whose checks were not waited for: its first and last image, and the checks."""

    names: Sequence[str]
    checks: DeferredChecks

    def finish(self) -> None:
        with named(self.names):
            self.checks.finish()


class ShardReader:
    """Shards of codes, one after another: images are read ahead by workers, across shards.

    What is encoded together depends only on shard and batch size, so a code never depends on which process made it.

    Args:
        windows: The images, cut.
        plan: The images that each shard covers.
        allowed: Largest tolerated share of unreadable images.
        batch_size: Crops encoded at once.
        num_workers: Processes that read.
    """

    def __init__(
        self, windows: ImageWindows, plan: Manifest, allowed: float, batch_size: int, num_workers: int
    ) -> None:
        self.windows, self.plan, self.allowed = windows, plan, allowed
        self.batch_size, self.num_workers = batch_size, num_workers
        self.unreadable: list[str] = []

    def read(
        self, shards: Sequence[int], tokenizer: Autoencoder, precision: str, advance: Callable[[int], None]
    ) -> Iterator[tuple[int, list[int], np.ndarray]]:
        """For each shard its number, the images that could be read, and their codes (n, A, L) or latents (n, A, ...).

        Args:
            shards: Numbers of the shards to read.
            tokenizer: Model that encodes them.
            precision: Precision of the encoder, `float32` or `bfloat16`.
            advance: Takes the number of images that are done.
        """
        device = next(tokenizer.parameters()).device
        together = max(1, self.batch_size // self.plan.num_crops)
        batches = [
            (shard, list(numbers[start : start + together]))
            for shard in shards
            for numbers in [self.plan.shard_images(shard)]
            for start in range(0, len(numbers), together)
        ]
        loader = DataLoader(
            self.windows,
            batch_sampler=[numbers for _, numbers in batches],
            num_workers=self.num_workers,
            collate_fn=self.windows.collate,
            pin_memory=device.type == 'cuda',
        )
        shape = self.plan.crop_shape
        numbers: list[int] = []
        encoded: list[Tensor] = []
        before = Unfinished(['', ''], DeferredChecks())
        for (shard, wanted), batch in zip(batches, loader, strict=True):
            self._check(batch)
            numbers += batch['numbers']
            if batch['numbers']:
                on_device = [window.to(device, non_blocking=True) for window in batch['windows']]
                crops = self.windows.multi_crop.from_windows(on_device).flatten(0, 1)
                names = [self.windows.images.name(batch['numbers'][end]) for end in (0, -1)]
                with named(names), deferred_checks(finish=False) as checks:
                    latents = isinstance(self.plan.layout, LatentLayout)
                    encoded += encode_crops(tokenizer, crops, self.batch_size, precision, latents)
                before.finish()  # while the device has this batch to do
                before = Unfinished(names, checks)
            advance(len(wanted))
            if wanted[-1] + 1 == self.plan.shard_images(shard).stop:
                before.finish()
                found = torch.cat(encoded).cpu().numpy() if encoded else np.empty((0, *shape), self.plan.dtype)
                for part in torch.from_numpy(found).chunk(2 if self.plan.moments else 1, 1):
                    self.plan.layout.check(part)
                yield shard, numbers, found.reshape(len(numbers), self.plan.num_crops, *shape)
                numbers, encoded = [], []

    def _check(self, batch: dict[str, Any]) -> None:
        if batch['error']:
            raise UserError(batch['error'])
        for number, reason in zip(batch['unreadable'], batch['reasons'], strict=True):
            self.unreadable.append(self.windows.images.name(number))
            logger.warning(f'left out unreadable image {printable(self.unreadable[-1])}: {reason}')
            refuse_unreadable(self.unreadable, self.plan.source_images, self.allowed)
