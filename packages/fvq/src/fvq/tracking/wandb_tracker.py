"""Weights & Biases, offline unless asked otherwise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.visualization import WandbVisBackend

from fvq_core.config.data import config_data
from fvq_core.registry import VISUALIZER_BACKENDS

from .run_ids import keep_id, known_id, new_id


@VISUALIZER_BACKENDS.register_module(name='wandb')
class WandbTracker(WandbVisBackend):
    """A run of W&B in `WORK_DIR/wandb`, which `wandb sync` uploads; with `WANDB_MODE=online` it is uploaded as it goes.

    Unlike mmengine's back-end it has curves over iterations, sends no source code, and a resumed run keeps its id: parts
    that were recorded offline become one run when they are synchronized. The variables `WANDB_PROJECT`, `WANDB_ENTITY` and
    so on are W&B's own.

    Args:
        save_dir: Not used; records lie in the work dir.
        init_kwargs: Arguments of `wandb.init` that replace ours.
    """

    library = 'wandb'

    def __init__(self, save_dir: str | None = None, init_kwargs: dict[str, Any] | None = None) -> None:
        super().__init__(save_dir or '', dict(init_kwargs or {}))
        self.exit_code = 0

    def _init_env(self) -> None:
        os.environ.setdefault('WANDB_ERROR_REPORTING', 'false')  # its errors are our one warning, and nobody else's
        import wandb

        self._run = wandb.init(**(self._init_kwargs or {}))
        self._run.define_metric('*', step_metric='iter')
        self._wandb = wandb

    def add_config(self, config: Any, **kwargs: Any) -> None:
        import wandb

        run_id = known_id(config, 'wandb') or new_id()
        work_dir = Path(config.work_dir)
        self._init_kwargs = {
            'dir': str(work_dir),
            'project': os.environ.get('WANDB_PROJECT', 'fvq'),
            'name': work_dir.name,
            'mode': os.environ.get('WANDB_MODE', 'offline'),
            'id': run_id,
            'resume': 'allow',
            'settings': wandb.Settings(silent=True, console='off'),
            **(self._init_kwargs or {}),
        }
        self.experiment.config.update(config_data(config.to_dict()), allow_val_change=True)
        keep_id(config, 'wandb', self._run.id)

    def add_scalars(
        self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        self._run.log({**scalar_dict, 'iter': step})

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        self._run.log({name: self._wandb.Image(image), 'iter': step})

    def add_checkpoint(self, facts: dict[str, Any], step: int) -> None:
        """An artifact that names the file and has its facts; the file stays where it is."""
        artifact = self._wandb.Artifact(f'{self._run.id}-checkpoint', type='checkpoint', metadata=facts)
        artifact.add_reference(Path(facts['path']).absolute().as_uri(), checksum=False)
        self._run.log_artifact(artifact, aliases=[f'iter_{step}'])

    def unfinished(self) -> None:
        """Mark the run as one that stopped before its end."""
        self.exit_code = 1

    def close(self) -> None:
        if hasattr(self, '_run'):
            self._run.finish(self.exit_code)
