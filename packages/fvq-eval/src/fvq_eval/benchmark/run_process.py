"""One process a run folder, and none that outlives the benchmark that started it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from fvq_core.errors import UserError

LOCK = 'lock'
BUSY = 76  # exit code of a process that found another one in its folder
WATCHED = 'watched'  # argument of a process whose standard input is held open by its parent


class FolderBusyError(UserError):
    """Another process trains in the folder."""


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder until the end of the block, or of this process, however it ends.

    The lock is this process's own (POSIX record lock): forked loaders of data, which live a little longer, do not hold it.

    Raises:
        FolderBusyError: Another process holds it.
    """
    with open(folder / LOCK, 'a') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise FolderBusyError(busy(folder)) from error
        file.truncate(0)
        print(os.getpid(), file=file, flush=True)
        yield


def busy(folder: Path) -> str:
    """Who holds a folder."""
    return f'process {(folder / LOCK).read_text().strip()} trains in {folder} already; wait for it, or end it'


def end_with_parent() -> None:
    """End this process when its standard input ends: nobody holds the other end but the parent, so the parent is gone.

    It ends at once, as if killed, and loses what came after its last checkpoint.
    """

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
