"""A folder that is filled after a plan, file by file: by any number of processes, with any number of interruptions."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import filelock
import numpy as np
from mmengine.dist import get_dist_info

from fvq_core.errors import UserError
from fvq_core.files.atomic import remove_leftovers, write_atomically
from fvq_core.ops.ranks import broadcast_result

LOCK_NAME = '.lock'


class PlannedFolder:
    """Files that each hold a fixed range of images and are whole or not there, so that what is missing is seen.

    Args:
        root: The folder.
        plan: What it is to hold.

    Attributes:
        activity: What one call does to the folder, for messages: "another call {activity} FOLDER".
        intact: What stays valid if a file cannot be written, for messages.
    """

    activity: ClassVar[str]
    intact: ClassVar[str]

    def __init__(self, root: str | Path, plan: Any) -> None:
        self.root, self.plan = Path(root), plan
        self.lock = filelock.FileLock(self.root / LOCK_NAME, blocking=False)

    def files(self) -> int:
        """Number of files in the plan."""
        raise NotImplementedError

    def is_done(self, number: int) -> bool:
        """Whether a file is there with all that the plan wants of it."""
        raise NotImplementedError

    def open(self) -> list[int]:
        """Prepare the folder, for one process before all others start; returns the files to be made.

        Raises:
            UserError: The folder holds something else, or another call writes to it.
        """
        raise NotImplementedError

    def open_together(self) -> tuple[list[int], list[int]]:
        """`open` by the first of several processes; each returns the files to be made, and its own share of them."""
        rank, world_size = get_dist_info()
        missing, self.plan = broadcast_result((lambda: (self.open(), self.plan)) if rank == 0 else None)
        return missing, missing[rank::world_size]

    def acquire(self) -> None:
        """Make the folder, keep other calls out of it until `close`, and remove what killed ones left.

        Raises:
            UserError: Another call has it, or it cannot be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.lock.acquire()
        except filelock.Timeout as error:
            raise UserError(f'another call {self.activity} {self.root}; wait for it, or stop it.') from error
        except OSError as error:
            raise UserError(f'{self.root} cannot be made ({error.strerror or error}); name another folder.') from error
        remove_leftovers(self.root)

    def close(self) -> None:
        """Release the lock."""
        if self.lock.is_locked:
            self.lock.release()
            (self.root / LOCK_NAME).unlink(missing_ok=True)

    def missing(self, among: Iterable[int] | None = None) -> list[int]:
        """The files, of all or of some, that are still to be made."""
        return [number for number in (range(self.files()) if among is None else among) if not self.is_done(number)]

    def wait(self, among: Iterable[int] | None = None, seconds: float = 0.2) -> None:
        """Wait for the files of other processes by looking: a collective would give up on a late one.

        When a process dies, its launcher ends them all.
        """
        numbers = self.missing(among)
        while numbers:
            time.sleep(seconds)
            numbers = self.missing(numbers)

    def write_array(self, name: str, array: np.ndarray) -> bytes:
        """Write an array as a `.npy` file, and return its bytes; a `UserError` if the disk is full."""
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
        write_atomically(self.root / name, buffer.getvalue(), self.intact)
        return buffer.getvalue()

    def write_json(self, name: str, document: Any, indent: int | None = None) -> None:
        """Write a JSON file; see `write_array`."""
        end = '' if indent is None else '\n'
        write_atomically(self.root / name, f'{json.dumps(document, indent=indent)}{end}'.encode(), self.intact)
