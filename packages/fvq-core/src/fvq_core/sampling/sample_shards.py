"""Samples on the disk while they are drawn: files of pixels, each whole or not there."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..atomic_files import write_atomically
from ..errors import UserError
from ..json_files import read_json
from .sample_plan import SamplePlan

PLAN_NAME = 'samples.json'
KEPT = 'The samples drawn before are kept: make room and run the same command again.'


class SampleShards:
    """A folder of `shard-00000.npy`, ..., uint8 (n, H, W, 3), made to one plan.

    Args:
        root: The folder; made if it is not there.
        plan: What it holds, or will. A longer plan goes on where a shorter one stopped.

    Raises:
        UserError: The folder holds samples of another plan, or cannot be made.
    """

    def __init__(self, root: Path, plan: SamplePlan) -> None:
        self.root, self.plan = root, plan
        there = read_json(root / PLAN_NAME)
        if there is not None and there != plan.to_dict():
            changed = sorted(
                key for key in plan.to_dict().keys() | there.keys() if there.get(key) != plan.to_dict().get(key)
            )
            raise UserError(
                f'{root} holds samples that were drawn in another way ({", ".join(changed)} differ); name another folder, or '
                'delete that one.'
            )
        if there is None:
            try:
                root.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f'{root} cannot be made ({error.strerror or error}); name another folder.') from error
            write_atomically(root / PLAN_NAME, (json.dumps(plan.to_dict(), indent=2) + '\n').encode(), KEPT)

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self.root / f'shard-{shard:05d}.npy'

    def missing(self) -> list[int]:
        """Shards that are not there, or hold fewer images than the plan wants of them."""
        return [n for n in range(self.plan.shards) if self._images(n) < len(self.plan.shard(n))]

    def _images(self, shard: int) -> int:
        path = self.path(shard)
        return len(np.load(path, mmap_mode='r', allow_pickle=False)) if path.exists() else 0

    def write(self, shard: int, pixels_NHWC: np.ndarray) -> None:
        """Write a shard.

        Raises:
            UserError: The disk is full; shards that were written before are kept.
        """
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(pixels_NHWC), allow_pickle=False)
        write_atomically(self.path(shard), buffer.getvalue(), KEPT)

    def read(self) -> Iterator[np.ndarray]:
        """The images of each shard in turn, uint8 (n, H, W, 3); of the last one those of the plan."""
        for shard in range(self.plan.shards):
            yield np.load(self.path(shard), mmap_mode='r', allow_pickle=False)[: len(self.plan.shard(shard))]

    def first(self, count: int) -> np.ndarray:
        """The first images, uint8 (n, H, W, 3)."""
        blocks, found = [], 0
        for block in self.read():
            blocks.append(block[: count - found])
            found += len(blocks[-1])
            if found == count:
                break
        return np.concatenate(blocks)
