"""Samples on the disk while they are drawn: files of pixels, each whole or not there."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from fvq_core.errors import UserError
from fvq_core.files.arrays import map_npy
from fvq_core.files.atomic import remove_leftovers, write_atomically
from fvq_core.files.json import read_json

from .sample_plan import SamplePlan

PLAN_NAME, LOCK_NAME = 'samples.json', '.lock'
KEPT = 'The samples drawn before are kept: make room and run the same command again.'


class SampleShards:
    """A folder of `shard-00000.npy`, ..., uint8 (n, H, W, 3), made to one plan.

    Args:
        root: The folder.
        plan: What it holds, or will. A longer plan goes on where a shorter one stopped.
    """

    def __init__(self, root: Path, plan: SamplePlan) -> None:
        self.root, self.plan = root, plan
        self.lock = filelock.FileLock(root / LOCK_NAME, blocking=False)

    def open(self, say: Callable[[str], Any] = print) -> tuple[SamplePlan, list[int]]:
        """Prepare the folder and write the plan to it, for one process before all others start.

        Args:
            say: Gets a line on each shard that is there but cannot be read.

        Returns:
            The plan, with files of the size that is there already, and the shards to be drawn: what `follow` wants.

        Raises:
            UserError: The folder holds samples of another plan or of none, another call writes to it, or it cannot be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.lock.acquire()
        except filelock.Timeout as error:
            raise UserError(f'another call draws samples into {self.root}; wait for it, or stop it.') from error
        except OSError as error:
            raise UserError(f'{self.root} cannot be made ({error.strerror or error}); name another folder.') from error
        remove_leftovers(self.root)
        self._take_plan(read_json(self.root / PLAN_NAME))
        missing = []
        for shard in range(self.plan.shards):
            images, problem = self._images(self.path(shard))
            if problem:
                say(f'{self.path(shard)} cannot be used ({problem}): its images are drawn again')
            if images < len(self.plan.shard(shard)):
                missing.append(shard)
        return self.plan, missing

    def follow(self, opened: tuple[SamplePlan, list[int]]) -> list[int]:
        """Take over, in any process, what the first one found; returns the shards to be drawn."""
        self.plan = opened[0]
        return opened[1]

    def _take_plan(self, there: Any) -> None:
        """Go on with the plan of the folder, or write this one where there is none or nothing drawn to it.

        Raises:
            UserError: There are samples of another plan, or of one that is not known.
        """
        files = sorted(self.root.glob('shard-*.npy'))
        if there is None and files:
            raise UserError(
                f'{self.root} holds {files[0].name} but no readable {PLAN_NAME} to say how it was drawn; name another folder, '
                'or delete that one.'
            )
        changed = self.plan.differences(there)
        size = there.get('shard_images') if isinstance(there, dict) else None
        if changed or type(size) is not int or size < 1:
            if any(self._images(path)[0] for path in files):
                raise UserError(
                    f'{self.root} holds samples that were drawn in another way ({", ".join(changed or ["no size of files"])}'
                    '); name another folder, or delete that one.'
                )
            text = json.dumps(self.plan.to_dict(), indent=2) + '\n'
            write_atomically(self.root / PLAN_NAME, text.encode(), KEPT)
        else:
            self.plan = replace(self.plan, shard_images=size)

    def close(self) -> None:
        """Let another call have the folder."""
        if self.lock.is_locked:
            self.lock.release()
            (self.root / LOCK_NAME).unlink(missing_ok=True)

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self.root / f'shard-{shard:05d}.npy'

    def missing(self, among: Sequence[int] | None = None) -> list[int]:
        """Shards, of all or of some, that are not there, or hold fewer images than the plan wants of them."""
        shards = range(self.plan.shards) if among is None else among
        return [n for n in shards if self._images(self.path(n))[0] < len(self.plan.shard(n))]

    def _images(self, path: Path) -> tuple[int, str]:
        """The images of a file, 0 where it is not there or cannot be used, and then why."""
        if not path.exists():
            return 0, ''
        try:
            return len(load(path)), ''
        except UserError as error:
            return 0, str(error)

    def write(self, shard: int, pixels_NHWC: np.ndarray) -> None:
        """Write a shard.

        Raises:
            UserError: The disk is full; shards that were written before are kept.
        """
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(pixels_NHWC), allow_pickle=False)
        write_atomically(self.path(shard), buffer.getvalue(), KEPT)

    def read(self) -> Iterator[np.ndarray]:
        """The images of each shard in turn, uint8 (n, H, W, 3); of the last one those of the plan.

        Raises:
            UserError: One is missing or cannot be read.
        """
        for shard in range(self.plan.shards):
            yield self._shard(shard)

    def images(self, numbers: Sequence[int]) -> np.ndarray:
        """Some images, uint8 (n, H, W, 3).

        Raises:
            UserError: Their shard is missing or cannot be read.
        """
        places = [self.plan.place(number) for number in numbers]
        return np.stack([self._shard(shard)[row] for shard, row in places])

    def _shard(self, shard: int) -> np.ndarray:
        try:
            return load(self.path(shard))[: len(self.plan.shard(shard))]
        except UserError as error:
            raise UserError(f'{self.path(shard)} cannot be used ({error}); run the same command again.') from error


def load(path: Path) -> np.ndarray:
    """The images of a file, mapped into memory.

    Raises:
        UserError: It holds none that could be read, in words that follow its name.
    """
    try:
        found = map_npy(path)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(' '.join(str(error).split())) from error
    if found.dtype != np.uint8 or found.ndim != 4 or found.shape[-1] != 3:
        raise UserError(f'{found.dtype} of shape {found.shape}, no images')
    return found
