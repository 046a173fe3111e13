"""The visualizer of a run with trackers."""

from __future__ import annotations

import atexit
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.dist import is_main_process
from mmengine.visualization import Visualizer

from fvq_core.registry import VISUALIZER_BACKENDS, VISUALIZERS

from .tracker import Tracker, as_tracker


@VISUALIZERS.register_module()
class Trackers(Visualizer):
    """mmengine's visualizer whose back-ends are each a `Tracker`: one that fails is off, and the run goes on.

    Only rank 0 has any. They end with `close`, or with the process if the run does not come that far.

    Args:
        name: The run's name in mmengine, by which it finds its visualizer.
        vis_backends: Configs of back-ends.
        save_dir: Folder of mmengine's own back-ends.
        start_timeout, close_timeout: See `Tracker`.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        vis_backends: Sequence[Mapping[str, Any]] = (),
        save_dir: str | None = None,
        start_timeout: float = 180.0,
        close_timeout: float = 60.0,
    ) -> None:
        super().__init__(name, vis_backends=[])
        folder = None if save_dir is None else f'{save_dir}/vis_data'
        for config in vis_backends if is_main_process() else ():
            backend = VISUALIZER_BACKENDS.build(config, save_dir=folder)
            label = VISUALIZER_BACKENDS.name_of(type(backend)) or type(backend).__name__
            self._vis_backends[label] = Tracker(label, backend, start_timeout, close_timeout)
        atexit.register(self.close, finished=False)

    def add_checkpoint(self, facts: dict[str, Any], step: int) -> None:
        """What a checkpoint is: file, iteration, size, seed and the metrics at that time."""
        for backend in self._vis_backends.values():
            as_tracker(backend).add_checkpoint(facts, step)

    def close(self, finished: bool = True) -> None:  # pyrefly: ignore[bad-override]
        """End all trackers, once."""
        atexit.unregister(self.close)
        for backend in self._vis_backends.values():
            as_tracker(backend).close(finished)
        self._vis_backends.clear()

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """None: a smoke run is nobody's experiment."""
        return dict(vis_backends=[])
