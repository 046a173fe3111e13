"""Runs as processes of this machine."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from .execution import execute
from .launcher import REPORT_EVERY, Ended, failed_to_start
from .run import BenchmarkRun, prepare
from .slots import Slots
from .time_limit import left_out


class LocalProcesses:
    """One run in each slot at a time. They end with this process.

    Args:
        slots: Environments of runs that go on at the same time, one a run.
    """

    queued = False

    def __init__(self, slots: Sequence[dict[str, str]]) -> None:
        self.slots = list(slots)
        self.running: list[BenchmarkRun] = []

    def active(self) -> list[BenchmarkRun]:
        """The runs that train now."""
        return list(self.running)

    def launch(
        self, runs: Sequence[BenchmarkRun], extra_metrics: list[dict[str, Any]]
    ) -> Generator[Ended | None, None, None]:
        """See `Launcher`."""
        places = Slots(self.slots)

        def work(run: BenchmarkRun) -> dict[str, Any]:
            with places.take() as slot:
                self.running.append(run)
                try:
                    if (later := left_out(run, slot)) is not None:
                        return later
                    prepare(run, extra_metrics, places.count)
                    return execute(run, slot)
                except Exception as error:  # whatever it is, the other rows go on
                    return failed_to_start(run, error)
                finally:
                    self.running.remove(run)

        with ThreadPoolExecutor(places.count) as pool:
            try:
                ending: dict[Future[dict[str, Any]], BenchmarkRun] = {pool.submit(work, run): run for run in runs}
                while ending:
                    done, _ = wait(ending, timeout=REPORT_EVERY, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield ending.pop(future), future.result()
                    if not done:
                        yield None
            except BaseException:  # the processes of this terminal get the same signal; nothing new is started
                pool.shutdown(wait=True, cancel_futures=True)
                raise
