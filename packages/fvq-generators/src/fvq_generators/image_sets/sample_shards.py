"""Samples on the disk while they are drawn: files of pixels, each whole or not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fvq_core.errors import UserError
from fvq_core.files.arrays import map_npy
from fvq_core.files.json import read_json

from ..planned_folder import PlannedFolder
from .sample_plan import SamplePlan

PLAN_NAME = 'samples.json'


class SampleShards(PlannedFolder):
    """A folder of `shard-00000.npy`, ..., uint8 (n, H, W, 3), made to one plan.

    Args:
        root: The folder.
        plan: What it holds, or will. A longer plan goes on where a shorter one stopped.
    """

    activity = 'draws samples into'
    intact = 'The samples drawn before are kept: make room and run the same command again.'
    plan: SamplePlan

    def files(self) -> int:
        return self.plan.shards

    def is_done(self, number: int) -> bool:
        return self._images(self.path(number))[0] >= len(self.plan.shard(number))

    def open(self, log: Callable[[str], Any] = print) -> list[int]:
        """See `PlannedFolder`; the plan then has files of the size that is there already.

        Args:
            log: Takes a line on each shard that is there but cannot be read.
        """
        self.acquire()
        self._take_plan(read_json(self.root / PLAN_NAME))
        missing = []
        for shard in range(self.plan.shards):
            images, problem = self._images(self.path(shard))
            if problem:
                log(f'{self.path(shard)} cannot be used ({problem}); sampling its images again')
            if images < len(self.plan.shard(shard)):
                missing.append(shard)
        return missing

    def _take_plan(self, there: Any) -> None:
        """Go on with the plan of the folder, or write this one if there is none, or nothing drawn to it."""
        files = sorted(self.root.glob('shard-*.npy'))
        if there is None and files:
            raise UserError(
                f'{self.root} holds {files[0].name} but no readable {PLAN_NAME} that tells how it was drawn; name '
                'another folder, or delete that one.'
            )
        changed = self.plan.differences(there)
        size = there.get('shard_images') if isinstance(there, dict) else None
        if changed or type(size) is not int or size < 1:
            if any(self._images(path)[0] for path in files):
                raise UserError(
                    f'{self.root} holds samples that were drawn in another way ({", ".join(changed or ["no size of files"])}'
                    '); name another folder, or delete that one.'
                )
            self.write_json(PLAN_NAME, self.plan.to_dict(), indent=2)
        else:
            self.plan = replace(self.plan, shard_images=size)

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self.root / f'shard-{shard:05d}.npy'

    def _images(self, path: Path) -> tuple[int, str]:
        """The images of a file, 0 if it is not there or cannot be used, and then why."""
        if not path.exists():
            return 0, ''
        try:
            return len(load(path)), ''
        except UserError as error:
            return 0, str(error)

    def write(self, shard: int, pixels_NHWC: np.ndarray) -> None:
        """Write a shard."""
        self.write_array(self.path(shard).name, pixels_NHWC)

    def read(self) -> Iterator[np.ndarray]:
        """The images of each shard in turn, uint8 (n, H, W, 3); of the last one those of the plan.

        Raises:
            UserError: One is missing or cannot be read.
        """
        return map(self._shard, range(self.plan.shards))

    def images(self, numbers: Sequence[int]) -> np.ndarray:
        """Some images, uint8 (n, H, W, 3); raises as `read` does."""
        rows = [self.plan.row(number) for number in numbers]
        return np.stack([self._shard(shard)[row] for shard, row in rows])

    def _shard(self, shard: int) -> np.ndarray:
        try:
            return load(self.path(shard))[: len(self.plan.shard(shard))]
        except UserError as error:
            raise UserError(f'{self.path(shard)} cannot be used ({error}); run the same command again.') from error


def load(path: Path) -> np.ndarray:
    """The images of a file, mapped into memory; if it cannot be read, the error continues a sentence about it."""
    try:
        found = map_npy(path)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(' '.join(str(error).split())) from error
    if found.dtype != np.uint8 or found.ndim != 4 or found.shape[-1] != 3:
        raise UserError(f'{found.dtype} of shape {found.shape}, not images')
    return found
