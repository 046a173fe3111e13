"""Drawing the images of a plan, by one process or by many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.images import to_uint8

from .caption_folder import CaptionFolder
from .sample_shards import SampleShards


class PerImage(Protocol):
    """What some images of a set are drawn from beside class and seed: `GivenImages`, `GivenOrders`."""

    def batch(self, numbers: Sequence[int]) -> dict[str, Any]: ...


class ImageModel(Protocol):
    """What draws images (B, 3, H, W) in [-1, 1], each only from its class or caption and its seed."""

    def sample(self, classes: Any, *, seeds: list[int], **settings: Any) -> Tensor: ...


def check_request(generator: Generator, settings: dict[str, Any], batch_size: int) -> None:
    """Raise if a request could not be drawn, before anything is written: the generator is asked for no image."""
    if batch_size < 1:
        raise UserError(f'--batch-size takes 1 or more images, got {batch_size}; the default is 32.')
    shape = generator.caption_shape
    generator.sample(torch.empty(0, dtype=torch.int64) if shape is None else torch.empty(0, *shape), **settings)


def draw_samples(
    model: ImageModel,
    shards: SampleShards,
    numbers: Sequence[int],
    settings: dict[str, Any],
    batch_size: int,
    advance: Callable[[int], Any] = lambda images: None,
    captions: CaptionFolder | None = None,
    given: Sequence[PerImage] = (),
) -> None:
    """Draw shards. What is drawn together depends only on shard and batch size, not on which process draws it.

    Args:
        model: Model that draws the images.
        shards: Shards that images are written to, and their plan.
        numbers: Shards to draw, this process's share of those that are missing.
        settings: Settings of the model: guidance, temperature, filters.
        batch_size: Images at a time.
        advance: Takes the number of images that were drawn.
        captions: What the plan's classes are the numbers of; None if they are classes.
        given: Pictures of which a part is kept, or orders in which codes are drawn.

    Raises:
        UserError: The disk is full, or whatever the model refuses.
    """
    plan = shards.plan
    for number in numbers:
        blocks = []
        shard = plan.shard(number)
        for start in range(0, len(shard), batch_size):
            images = shard[start : start + batch_size]
            classes, seeds = [plan.label(i) for i in images], [plan.image_seed(i) for i in images]
            extra = {name: value for each in given for name, value in each.batch(images).items()}
            if captions is not None:
                classes, extra['caption_mask_BT'] = captions.batch(classes)
            drawn = model.sample(classes, seeds=seeds, **extra, **settings)
            blocks.append(to_uint8(drawn).permute(0, 2, 3, 1).cpu().numpy())
            advance(len(images))
        shards.write(number, np.concatenate(blocks))
