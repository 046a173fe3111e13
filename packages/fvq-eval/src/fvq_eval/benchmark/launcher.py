"""Where the runs of a benchmark train."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from typing import Any, Protocol

from fvq_core.errors import UserError
from fvq_core.files.json import write_json

from .run import RESULT, BenchmarkRun, failure

REPORT_EVERY = 60.0  # seconds between progress lines while nothing ends
Ended = tuple[BenchmarkRun, dict[str, Any]]  # a run and its result


class Launcher(Protocol):
    """Starts runs, in processes of this machine or as jobs of a cluster, and tells which have ended.

    Attributes:
        queued: Whether runs wait in a queue, so that all that are known should be handed over together.
    """

    queued: bool

    def launch(
        self, runs: Sequence[BenchmarkRun], extra_metrics: list[dict[str, Any]]
    ) -> Generator[Ended | None, None, None]:
        """Train the runs: each with its result as it ends, and None every `REPORT_EVERY` seconds while none does.

        One that fails disturbs no other; one that another process trains, or has just finished, is not trained again.
        """

    def active(self) -> list[BenchmarkRun]:
        """The runs that train now."""


def failed_to_start(run: BenchmarkRun, error: Exception) -> dict[str, Any]:
    """The result of a run that a folder, a lock or a process has kept from starting, left in its folder if that is possible."""
    result = failure(error)
    # Where not even this can be written, the console's line has to do.
    with contextlib.suppress(UserError, OSError):
        write_json(run.folder / RESULT, result)
    return result
