"""TensorBoard, with one folder of events for a run however often it is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.visualization import TensorboardVisBackend

from fvq_core.config.data import config_text
from fvq_core.registry import VISUALIZER_BACKENDS

from .run_ids import keep_id, known_id, new_id


@VISUALIZER_BACKENDS.register_module(name='tensorboard')
class TensorboardTracker(TensorboardVisBackend):
    """Events in `WORK_DIR/tensorboard/ID`.

    mmengine's back-end, which every config has, begins a folder, so that a resumed run has two sets of curves. Here it goes on
    in the same one, and what was recorded after the checkpoint that is resumed is hidden.

    Args:
        save_dir: Not used; records lie in the work dir.
    """

    library = 'tensorboard'

    def __init__(self, save_dir: str | None = None) -> None:
        super().__init__(save_dir or '')
        self.resumed = False
        self.purge_step: int | None = None

    def _init_env(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._tensorboard = SummaryWriter(self._save_dir, purge_step=self.purge_step)

    def add_config(self, config: Any, **kwargs: Any) -> None:
        known = known_id(config, 'tensorboard')
        self.resumed, run_id = known is not None, known or new_id()
        self._save_dir = str(Path(config.work_dir) / 'tensorboard' / run_id)
        keep_id(config, 'tensorboard', run_id)
        if not self.resumed:
            self.experiment.add_text('config', f'```python\n{config_text(config.to_dict())}\n```')

    def _first_step(self, step: int) -> None:
        if self.resumed and not self._env_initialized:
            self.purge_step = step

    def add_scalars(
        self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        self._first_step(step)
        super().add_scalars(scalar_dict, step)

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        self._first_step(step)
        super().add_image(name, image, step)

    def add_checkpoint(self, facts: dict[str, Any], step: int) -> None:
        """The checkpoint's facts as text."""
        self._first_step(step)
        self.experiment.add_text('checkpoint', f'```json\n{json.dumps(facts, indent=2)}\n```', step)
