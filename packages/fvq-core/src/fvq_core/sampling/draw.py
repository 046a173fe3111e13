"""Drawing the images of a plan, by one process or by many."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from ..images import to_uint8
from .sample_shards import SampleShards


class ImageModel(Protocol):
    """What draws images (B, 3, H, W) in [-1, 1], each from its class and its seed alone."""

    def sample(self, classes: list[int], *, seeds: list[int], **settings: Any) -> Tensor: ...


def draw_samples(
    model: ImageModel,
    shards: SampleShards,
    settings: dict[str, Any],
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    advance: Callable[[int], Any] = lambda images: None,
) -> None:
    """Draw the shards that are missing; each process those whose number is its own modulo their count.

    Args:
        model: Draws.
        shards: Where images go, and their plan.
        settings: For the model: guidance, temperature, filters.
        batch_size: Images at a time.
        rank: Of this process.
        world_size: Number of processes.
        advance: Is told how many images were drawn.

    Raises:
        UserError: The disk is full, or whatever the model refuses.
    """
    plan = shards.plan
    for number in shards.missing():
        if number % world_size != rank:
            continue
        blocks = []
        for images in plan.batches(plan.shard(number), batch_size):
            drawn = model.sample(
                [plan.label(i) for i in images], seeds=[plan.image_seed(i) for i in images], **settings
            )
            blocks.append(to_uint8(drawn).permute(0, 2, 3, 1).cpu().numpy())
            advance(len(images))
        shards.write(number, np.concatenate(blocks))


def wait_for_all(shards: SampleShards, seconds: float = 0.2) -> None:
    """Wait for the shards of other processes, by looking: a collective would give up on a late one."""
    while shards.missing():
        time.sleep(seconds)
