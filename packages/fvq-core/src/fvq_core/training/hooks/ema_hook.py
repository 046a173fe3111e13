"""An exponential moving average of the main part's weights, used by evaluation and export."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from torch import Tensor

from ...errors import UserError
from ...ops.moving_average import swap_values, update_average
from ...registry import HOOKS


@HOOKS.register_module()
class EMAHook(Hook):
    """After each iteration: average <- decay x average + (1 - decay) x weights.

    The average covers only the task's main part (the tokenizer, or the generator). In a checkpoint it is
    `ema_state_dict` beside the raw `state_dict`; `tools/test.py` and `tools/export.py` read either (`--weights`).
    Evaluations during training and the report of a finished run use the average. Integer buffers are copied.

    Args:
        decay: 0.999 in IBQ and Open-MAGVIT2, 0.9999 is usual for long runs. LlamaGen's and FVQ's published tokenizers
            have no average.
    """

    priority = 'ABOVE_NORMAL'  # the report at the end must find the averaged weights

    def __init__(self, decay: float = 0.999) -> None:
        if not 0.0 <= decay < 1.0:
            raise UserError(f'EMAHook: decay must lie in [0, 1), got {decay}; 0.999 is usual.')
        self.decay = decay
        self.average: dict[str, Tensor] = {}
        self.weights: dict[str, Tensor] = {}
        self.gathered: dict[str, Tensor] = {}
        self.note = f' (average of decay {decay:g})'
        self.run_is_over = False

    def _weights(self, runner: Any) -> dict[str, Tensor]:
        if not self.weights:
            prefix = f'{next(iter(runner.task.parts()))}.'
            state = runner.task.local_state()
            self.weights = {key: value for key, value in state.items() if key.startswith(prefix)}
        return self.weights

    def before_train_epoch(self, runner: Any) -> None:
        if not self.average:  # a fresh run, initialized from data
            self.average = {key: value.clone() for key, value in self._weights(runner).items()}

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        update_average(self.average, self._weights(runner), self.decay)

    def _swap(self, runner: Any, note: str) -> None:
        swap_values(self._weights(runner), self.average)
        runner.task.weights_note = note

    def before_val(self, runner: Any) -> None:
        if not self.run_is_over:
            self._swap(runner, self.note)

    def after_val(self, runner: Any) -> None:
        if not self.run_is_over:
            self._swap(runner, '')

    def after_train(self, runner: Any) -> None:
        self._swap(runner, self.note)  # and stays, for the report
        self.run_is_over = True

    def before_checkpoint(self, runner: Any) -> None:
        """Called on every rank before rank 0 writes a checkpoint."""
        self.gathered = runner.task.gather(self.average)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint['ema_state_dict'], self.gathered = self.gathered, {}

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get('ema_state_dict')
        if state is None:
            raise UserError(
                'EMAHook: the checkpoint to resume was written without an average; set default_hooks.ema=None, or '
                'start from its weights with load_from.'
            )
        self.average = runner.task.scatter(state)
