"""The loss of a generator on images that it does not train on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sized
from logging import Logger
from typing import Any, cast

import torch
import torch.distributed as dist
from mmengine.dist import get_dist_info
from torch import Tensor

from fvq_core.codes import CodeLayout
from fvq_core.data.loader import Loader
from fvq_core.data.sample import UnreadableImages
from fvq_core.errors import UserError
from fvq_core.metric import MetricValue
from fvq_core.ops.ranks import sum_or_raise

PROTOCOL = 'mean over the validation images, dropout off'


@torch.no_grad()
def validation_losses(
    task: Any, loader: Loader, logger: Logger, after_batch: Callable[..., None] | None = None
) -> dict[str, MetricValue]:
    """`val_loss`, its terms if there are several, and `val_bits_per_image` if the loss is a likelihood.

    What a loss draws, such as masks, is the same in every evaluation with the same batches. Every rank calls it.

    Args:
        task: A `GeneratorTask`, whose generator is then in eval mode.
        loader: This rank's share of the images.
        logger: Names unreadable images.
        after_batch: Called with `batch_idx`, `data_batch` and `outputs`, the losses.

    Raises:
        UserError: No readable image; or fewer images than processes if the weights are sharded.
    """
    task.eval()
    device = next(task.parameters()).device
    images = len(cast(Sized, loader.dataset))
    unreadable = UnreadableImages(images, loader.max_unreadable, logger)
    sums: dict[str, Tensor] = {}
    weight, count, error = torch.zeros((), dtype=torch.float64, device=device), 0, None
    try:
        with torch.random.fork_rng([device] if device.type == 'cuda' else []):
            for number, (batch, counts) in enumerate(batches(task, loader)):
                if not unreadable.check(batch):
                    continue
                torch.manual_seed(number)
                targets, condition = task.targets(batch), task.condition(batch, device)
                losses = task.generator(targets, *condition)
                weight_B = condition[2] if len(condition) > 2 else torch.ones(len(targets))
                share = cast(Tensor, weight_B).double().sum().to(device) * counts
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + value.double() * share
                weight, count = weight + share, count + len(targets) * counts
                if after_batch is not None and counts:
                    after_batch(batch_idx=number, data_batch=batch, outputs=losses)
    except UserError as caught:
        error = caught
    total, broken = sum_or_raise([count, len(unreadable.names)], error)
    unreadable.check_share(broken)
    if not total:
        raise UserError('the validation set has no readable image.')
    return values(task, means(sums, weight), total)


def batches(task: Any, loader: Loader) -> Any:
    """Batches, and whether they count. Sharded weights are gathered by all ranks together, so each has as many batches."""
    found = 0
    batch: Any = None
    for batch in loader:
        found += 1
        yield batch, True
    if not task.sharded:
        return
    images, world_size = len(cast(Sized, loader.dataset)), get_dist_info()[1]
    if images < world_size:
        raise UserError(
            f'val_dataloader: {images} images for {world_size} processes with model.shard; each needs one or more.'
        )
    largest = math.ceil(math.ceil(images / world_size) / cast(int, loader.batch_size))
    for _ in range(largest - found):
        yield batch, False


def means(sums: dict[str, Tensor], weight: Tensor) -> dict[str, float]:
    """Weighted means over the images of all ranks; a rank without images has no sums."""
    every: list[Any] = [sorted(sums)]
    if dist.is_initialized():
        every = [None] * dist.get_world_size()
        dist.all_gather_object(every, sorted(sums))
    names: list[str] = max(every, key=len)
    totals = torch.stack([*(torch.as_tensor(sums.get(name, 0.0), device=weight.device) for name in names), weight])
    if dist.is_initialized():
        dist.all_reduce(totals)
    *terms, weights = totals.tolist()
    return {name: term / weights for name, term in zip(names, terms, strict=True)}


def values(task: Any, terms: dict[str, float], images: int) -> dict[str, MetricValue]:
    """The numbers with their units."""
    layout, generator = task.generator.layout, task.generator
    unit = 'nats a code' if isinstance(layout, CodeLayout) else ''
    found = {'val_loss': MetricValue(sum(terms.values()), unit, PROTOCOL, images)}
    if len(terms) > 1:
        found |= {f'val_loss/{name}': MetricValue(value, unit, PROTOCOL, images) for name, value in terms.items()}
    if generator.likelihood and isinstance(layout, CodeLayout):
        bits = terms['cross_entropy'] * layout.length / math.log(2)
        found['val_bits_per_image'] = MetricValue(bits, 'bits', PROTOCOL, images)
    return found
