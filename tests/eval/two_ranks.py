"""Statistics of one image set by one process, or by two that each see a part of it."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
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


def work(rank: int, folder: str) -> None:
    """One of two processes."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2)
    for name, parts in CASES.items():
        for keep in (True, False):
            statistics(parts[rank], 7, keep).save(f'{folder}/{name}, {keep}, rank {rank}.npz')
    dist.barrier()
    dist.destroy_process_group()


def run_both_ranks(folder: Path) -> None:
    """Leaves in a folder what each of two processes ends with."""
    os.environ.setdefault('GLOO_SOCKET_IFNAME', 'lo')
    mp.spawn(work, (str(folder),), nprocs=2)
