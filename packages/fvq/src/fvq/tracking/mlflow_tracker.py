"""MLflow, in a database of the work dir unless a server is named."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.visualization import MLflowVisBackend

from fvq_core.config.data import config_data
from fvq_core.config.walk import leaves
from fvq_core.registry import VISUALIZER_BACKENDS

from .run_ids import keep_id, known_id

MAX_PARAMS = 100  # that MLflow takes at a time
REFUSED = re.compile(r'[^\w\-. :/]')  # in names of MLflow


@VISUALIZER_BACKENDS.register_module(name='mlflow')
class MLflowTracker(MLflowVisBackend):
    """A run of MLflow in `WORK_DIR/mlflow`, or where the variable `MLFLOW_TRACKING_URI` says.

    The local store is a SQLite file; MLflow has given up its plain folders. Unlike mmengine's back-end it has steps for
    images, uploads no files of the work dir, and continues the run of the same work dir when that is resumed.

    Args:
        save_dir: Not used; records lie in the work dir.
        exp_name: Name of the experiment; default `MLFLOW_EXPERIMENT_NAME`, else `fvq`.
    """

    library = 'mlflow'

    def __init__(self, save_dir: str | None = None, exp_name: str | None = None) -> None:
        super().__init__(save_dir or '', exp_name=exp_name or os.environ.get('MLFLOW_EXPERIMENT_NAME', 'fvq'))
        self.status = 'FINISHED'

    def _init_env(self) -> None:
        os.environ.setdefault('MLFLOW_DISABLE_TELEMETRY', 'true')  # a local store tells nobody
        import mlflow

        self._mlflow = mlflow

    def add_config(self, config: Any, **kwargs: Any) -> None:
        mlflow, work_dir = self.experiment, Path(config.work_dir).absolute()
        store = work_dir / 'mlflow'
        uri = os.environ.get('MLFLOW_TRACKING_URI')
        if uri is None:
            store.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(uri or f'sqlite:///{store}/mlflow.db')
        if uri is None:
            os.environ.pop(
                'MLFLOW_TRACKING_URI', None
            )  # MLflow sets it, and the next run of this process has its own store
        if mlflow.get_experiment_by_name(self._exp_name) is None:
            mlflow.create_experiment(self._exp_name, None if uri else (store / 'artifacts').as_uri())
        mlflow.set_experiment(self._exp_name)
        run_id = known_id(config, 'mlflow')
        run = mlflow.start_run(run_id=run_id, run_name=None if run_id else work_dir.name)
        keep_id(config, 'mlflow', run.info.run_id)
        data = config_data(config.to_dict())
        mlflow.log_dict(data, 'resolved_config.json')
        if run_id is None:  # parameters of a run cannot change
            params = [(REFUSED.sub('_', name), value) for name, value in leaves(data).items()]
            for start in range(0, len(params), MAX_PARAMS):
                mlflow.log_params(dict(params[start : start + MAX_PARAMS]))

    def add_scalars(
        self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        self._mlflow.log_metrics({REFUSED.sub('_', name): value for name, value in scalar_dict.items()}, step)

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        self._mlflow.log_image(image, key=REFUSED.sub('_', name), step=step)

    def add_checkpoint(self, facts: dict[str, Any], step: int) -> None:
        """A JSON file with the checkpoint's facts; the checkpoint stays where it is."""
        self._mlflow.log_dict(facts, f'checkpoints/iter_{step}.json')

    def unfinished(self) -> None:
        """Mark the run as one that stopped before its end."""
        self.status = 'KILLED'

    def close(self) -> None:
        if hasattr(self, '_mlflow'):
            self._mlflow.end_run(self.status)
