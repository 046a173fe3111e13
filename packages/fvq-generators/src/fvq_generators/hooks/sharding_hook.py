"""Checkpoints of weights that are spread over the processes: the same files as of one process."""

from __future__ import annotations

from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from fvq_core.registry import HOOKS

from ..tasks.sharding import split_optimizer_state, whole_optimizer_state


@HOOKS.register_module()
class ShardingHook(Hook):
    """Gathers weights and optimizer state before rank 0 writes a checkpoint, and splits them when a run resumes.

    A checkpoint is whole: a run may go on with another number of processes, or with one. Does nothing if the task is not
    sharded.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.optimizer_states: dict[str, dict[int, dict[str, Any]]] = {}

    def before_checkpoint(self, runner: Any) -> None:
        """Called on every rank before rank 0 writes a checkpoint."""
        task, keep = runner.task, is_main_process()
        if not task.sharded:
            return
        weights = task.gather(task.local_state())
        for name, wrapper in runner.optim_wrapper.items():
            self.optimizer_states[name] = whole_optimizer_state(wrapper.optimizer, keep)
        task.gathered = weights if keep else None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        if not runner.task.sharded:
            return
        runner.task.gathered = None
        for name, state in self.optimizer_states.items():
            checkpoint['optimizer'][name]['state'] = state
        self.optimizer_states = {}

    def before_resume(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Called on every rank before weights and optimizer are read."""
        if not runner.task.sharded:
            return
        for name, wrapper in runner.optim_wrapper.items():
            saved = checkpoint['optimizer'][name]
            checkpoint['optimizer'][name] = {**saved, 'state': split_optimizer_state(saved['state'], wrapper.optimizer)}
