"""Statistics of one image set by one process, or by two that each see a part of it."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_eval.features.random_features import RandomFeatures
from fvq_eval.statistics.image_set import ImageSetStatistics

COUNT = 101  # does not divide by two, nor by a batch
# What each rank sees: of the whole set a part; a sampler's padding and a batch that both ranks have; nothing at all.
CASES: dict[str, list[list[int]]] = {
    'even and odd': [list(range(0, COUNT, 2)), list(range(1, COUNT, 2))],
    'uneven': [list(range(90, COUNT)), list(range(90))],
    'padded': [[*range(0, COUNT, 2), 0, 2], [*range(1, COUNT, 2), 0, 1, 4, 6, 50]],
    'all on one': [[], list(range(COUNT))],
}


def pixels(numbers: list[int]) -> Tensor:
    """Images that their numbers decide, uint8 (n, 3, 32, 32)."""
    images = [torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(n)) for n in numbers]
    return torch.stack(images).to(torch.uint8)


def statistics(numbers: list[int], batch: int, keep_features: bool = True) -> ImageSetStatistics:
    """Of images in batches, reduced."""
    found = ImageSetStatistics(RandomFeatures(), keep_features)
    for start in range(0, len(numbers), batch):
        part = numbers[start : start + batch]
        found.update(pixels(part), torch.tensor(part))
    found.reduce()
    return found


def statistics_on_rank(rank: int, name: str, keep_features: bool, file: str) -> None:
    """Save what one of two processes ends with."""
    statistics(CASES[name][rank], 7, keep_features).save(f'{file}{rank}.npz')
