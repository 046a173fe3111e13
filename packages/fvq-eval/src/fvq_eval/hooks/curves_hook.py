"""`curves.png` of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from fvq_core.registry import HOOKS
from fvq_core.training.hooks.history import HISTORY_NAME, History

from ..plots.curves_plot import plot_curves


@HOOKS.register_module()
class CurvesHook(Hook):
    """Draws losses, usage and learning rate of any run from its history."""

    priority = 'VERY_LOW'

    def after_train(self, runner: Any) -> None:
        if is_main_process():
            work_dir = Path(runner.work_dir)
            plot_curves(History(work_dir / HISTORY_NAME).rows(), work_dir / 'curves.png')
