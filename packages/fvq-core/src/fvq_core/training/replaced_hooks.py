"""Hooks of mmengine that do not work with this Runner, and what replaces them."""

from __future__ import annotations

from mmengine.hooks import Hook

from ..errors import UserError

REPLACED = {
    'CheckpointHook': "write type='CheckpointHook' with interval and max_keep",
    'EMAHook': "write type='EMAHook' with decay",
    'LoggerHook': 'TrainingLogHook and ProgressHook log',
    'RuntimeInfoHook': 'TrainingLogHook logs losses and learning rates',
    'EarlyStoppingHook': 'a run has the length that its schedule was made for; resume a checkpoint with another max_iters',
    'NaiveVisualizationHook': 'ReportHook saves reconstructions',
    'PrepareTTAHook': 'evaluation uses each image once',
}


def check_hook(hook: Hook) -> Hook:
    """The hook; raises if it is one of `REPLACED`, or inherits from one."""
    for kind in type(hook).__mro__:
        if kind.__module__.startswith('mmengine.hooks.') and kind.__name__ in REPLACED:
            raise UserError(f"mmengine's {kind.__name__} does not work with this Runner; {REPLACED[kind.__name__]}.")
    return hook
