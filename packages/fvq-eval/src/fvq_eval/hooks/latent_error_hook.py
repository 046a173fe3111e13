"""D(P_z, C) while training: how far the latents of a training batch lie from their codes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook

from fvq_core.errors import UserError
from fvq_core.quantizer import Quantizer, QuantizerOutput
from fvq_core.registry import HOOKS
from fvq_core.training.hooks.history import HISTORY_NAME, History

from ..metrics.quantization_error import error_sums, errors


@HOOKS.register_module()
class LatentErrorHook(Hook):
    """Measures one training batch every `interval` iterations and writes a row of split `latents` into the history.

    `quantization_error_batch` is the mean over the batch's latents of the squared distance to their codes, the paper's
    D(P_z, C) (section 3.1); `relative_quantization_error_batch` is that over the total variance of these latents. Latents
    are quantized as in evaluation, before the step: an estimator's value in training need not be the code, and an update
    may move codes in the forward pass. A quantizer that compares no latents with codes gets no row. The hook holds no
    state, so a resumed run writes the same rows.

    Args:
        interval: Iterations between measurements; the last iteration is always measured.
    """

    def __init__(self, interval: int = 10) -> None:
        if interval < 1:
            raise UserError(f'LatentErrorHook: interval must be 1 or more, got {interval}.')
        self.interval = interval
        self.handle: Any = None
        self.sums: torch.Tensor | None = None

    def before_run(self, runner: Any) -> None:
        self.history = History(Path(runner.work_dir) / HISTORY_NAME)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if (runner.iter + 1) % self.interval == 0 or runner.iter + 1 == runner.max_iters:
            self.sums = None
            quantizer = runner.task.tokenizer.require_quantizer('LatentErrorHook')
            self.handle = quantizer.register_forward_pre_hook(self._look)

    @torch.no_grad()
    def _look(self, quantizer: Quantizer, inputs: tuple[torch.Tensor, ...]) -> None:
        output = quantize_as_in_evaluation(quantizer, inputs[0])
        if output.z_BDHW is None:
            return
        sums = error_sums(output.z_BDHW, output.z_q_BDHW)
        self.sums = sums if self.sums is None else self.sums + sums  # several micro-batches of one iteration

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if self.handle is None:
            return
        self.handle.remove()
        self.handle = None
        if self.sums is None:
            return
        all_reduce(self.sums)
        error, relative = errors(self.sums)
        row = {'iter': runner.iter + 1, 'split': 'latents', 'quantization_error_batch': error}
        if math.isfinite(relative):
            row['relative_quantization_error_batch'] = relative
        if is_main_process():
            self.history.append(row)


def quantize_as_in_evaluation(quantizer: Quantizer, z_BDHW: torch.Tensor) -> QuantizerOutput:
    """The output that a quantizer in training would give in eval mode; its training mode is restored."""
    modes = [(module, module.training) for module in quantizer.modules()]
    quantizer.eval()
    try:
        return quantizer.forward(z_BDHW)  # not through `__call__`, whose hooks are about training
    finally:
        for module, training in modes:
            module.training = training
