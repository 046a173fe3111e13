"""What training took: seconds over all legs of a run, and memory, without evaluations and reports."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import torch
from mmengine.hooks import Hook


def resident_peak_mib() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == 'darwin' else peak / 2**10  # bytes there, KiB on Linux


class TrainingCost(Hook):
    """Measures while the loop trains; its sums travel in the checkpoints, so a resumed run adds to them.

    Work after the last checkpoint of a leg that was killed is not counted, as it is not in the weights.

    Args:
        on_gpu: Whether the run trains on a GPU.
        imported_mib: `resident_peak_mib()` before anything was built, which is not the training's.

    Attributes:
        peak_mib: Largest memory: allocated on the GPU, else resident beyond `imported_mib` up to the first evaluation,
            because the largest resident memory of a process cannot be set back.
    """

    def __init__(self, on_gpu: bool = False, imported_mib: float = 0.0) -> None:
        self.on_gpu, self.imported_mib = on_gpu, imported_mib
        self.peak_mib = self.earlier = 0.0
        self.since: float | None = None
        self.evaluated = self.paused = False

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self.earlier + (0.0 if self.since is None else time.perf_counter() - self.since)

    def before_train(self, runner: Any) -> None:
        self._start()

    def before_val(self, runner: Any) -> None:
        self._look()
        self.paused, self.evaluated = self.since is not None, True
        self.earlier, self.since = self.seconds, None

    def after_val(self, runner: Any) -> None:
        if self.paused:
            self._start()

    def after_train(self, runner: Any) -> None:
        self.earlier, self.since = self.seconds, None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        self._look()
        checkpoint['training_cost'] = {'seconds': self.seconds, 'peak_mib': self.peak_mib}

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        before = checkpoint.get('training_cost', {})
        self.earlier += before.get('seconds', 0.0)
        self.peak_mib = max(self.peak_mib, before.get('peak_mib', 0.0))

    def _start(self) -> None:
        self.since = time.perf_counter()
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()

    def _look(self) -> None:
        if self.on_gpu:
            self.peak_mib = max(self.peak_mib, torch.cuda.max_memory_allocated() / 2**20)
        elif not self.evaluated:
            self.peak_mib = max(self.peak_mib, resident_peak_mib() - self.imported_mib)
