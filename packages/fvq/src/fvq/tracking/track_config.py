"""From names of trackers to the config of a run that has them."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.visualization.vis_backend import BaseVisBackend

from fvq_core.errors import UserError
from fvq_core.registry import VISUALIZER_BACKENDS


def add_trackers(cfg: Config, names: Sequence[str]) -> None:
    """Let the run of a config have trackers, in place; a saved config then has them too.

    Args:
        names: `tensorboard`, `wandb`, `mlflow`, or any other name registered as a back-end of mmengine's visualizer.

    Raises:
        UserError: An unknown name, with the nearest; a library that is not installed, with the extra that brings it.
    """
    kinds = {name: VISUALIZER_BACKENDS.resolve(name) for name in names}
    for name, kind in kinds.items():
        if not isinstance(kind, type) or not issubclass(kind, BaseVisBackend):  # an import path leads anywhere
            raise UserError(
                f"--track {name}: not a back-end of mmengine's visualizer; {VISUALIZER_BACKENDS.hint(name)}"
            )
        library = getattr(kind, 'library', None)
        if library is None:
            logging.getLogger('fvq').warning(f"--track {name}: mmengine's own back-end, which FVQ does not test.")
        elif importlib.util.find_spec(library) is None:
            extra = 'train' if library == 'tensorboard' else 'track'
            raise UserError(f'--track {name}: {library} is not installed; pip install "fvq[{extra}]".')
    visualizer: dict[str, Any] = dict(cfg.get('visualizer') or {})
    others = [each for each in visualizer.get('vis_backends') or () if not replaced(each['type'], kinds.values())]
    visualizer |= dict(type='Trackers', vis_backends=[*others, *(dict(type=name) for name in kinds)])
    cfg.visualizer = ConfigDict(visualizer)
    hooks = dict(cfg.get('default_hooks') or {})
    cfg.default_hooks = ConfigDict({**hooks, 'tracking': hooks.get('tracking') or dict(type='TrackingHook')})


def replaced(type_: Any, kinds: Any) -> bool:
    """Whether a back-end of a config is one of these, or the one of mmengine that it is made from."""
    old = VISUALIZER_BACKENDS.resolve(type_)
    return any(isinstance(old, type) and issubclass(kind, old) for kind in kinds)
