"""Diagnostics of a generator's training."""

from __future__ import annotations

import time
from typing import Any

import torch

from fvq_core.codes import CodeLayout
from fvq_core.registry import HOOKS
from fvq_core.training.hooks import TrainingLogHook


@HOOKS.register_module()
class GeneratorLogHook(TrainingLogHook):
    """`TrainingLogHook` for a generator: its codes come from the data and not from a tokenizer's forward pass.

    `usage_window` and `perplexity_window` are then those of the training codes: what share of the vocabulary the generator
    sees at all.

    Args:
        interval: Iterations between logs.
    """

    def before_train(self, runner: Any) -> None:
        generator = runner.task.generator
        if self.histogram_K is None and isinstance(generator.layout, CodeLayout):
            K = generator.layout.vocab_size
            self.histogram_K = torch.zeros(K, dtype=torch.int64, device=next(generator.parameters()).device)
        self.speed_from = (0, time.perf_counter())
