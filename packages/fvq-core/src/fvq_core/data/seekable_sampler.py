"""An endless data order that can start anywhere in O(1), which makes resuming exact and cheap."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import torch
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from ..registry import SAMPLERS


@SAMPLERS.register_module()
class SeekableSampler(Sampler):
    """Yields (index, position) forever, with a new permutation each epoch.

    Position p of the global order is entry p mod n of the permutation of epoch p // n, whatever the number of ranks;
    rank r of W takes positions start + r, start + r + W, ...

    Attributes:
        start: First position; to resume, set it before iterating.
    """

    def __init__(self, dataset: Sized, seed: int = 0, shuffle: bool = True) -> None:
        self.size, self.seed, self.shuffle = len(dataset), seed, shuffle
        self.start = 0
        self.rank, self.world_size = get_dist_info()

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, order = -1, torch.empty(0)
        position = self.start + self.rank
        while True:
            if position // self.size != epoch:
                epoch = position // self.size
                order = self._order(epoch)
            yield int(order[position % self.size]), position
            position += self.world_size

    def _order(self, epoch: int) -> torch.Tensor:
        if not self.shuffle:
            return torch.arange(self.size)
        rng = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        return torch.randperm(self.size, generator=rng)

    def __len__(self) -> int:
        return self.size
