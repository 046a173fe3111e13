"""One pass over the evaluation set with every metric; used for validation and for testing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence, Sized
from functools import partial
from typing import Any, cast

import torch
from mmengine.runner import BaseLoop

from ..data.loader import Loader
from ..data.sample import UnreadableImages
from ..errors import UserError
from ..metric import Metric, MetricValue
from ..ops.finite import deferred_checks
from ..ops.ranks import sum_or_raise
from ..registry import LOOPS


@torch.no_grad()
def evaluate(
    task: Any,
    loader: Loader,
    metrics: Sequence[Metric],
    logger: logging.Logger,
    after_batch: Callable[..., None] | None = None,
) -> dict[str, MetricValue]:
    """The values of all metrics over a data set, by name; in eval mode and float32, on every rank.

    Args:
        task: Task with a `tokenizer` and a `val_step`; see `TokenizerTask`.
        loader: This rank's share of the data set.
        metrics: Reset before the first batch.
        logger: Names unreadable images.
        after_batch: Called with `batch_idx`, `data_batch`, and `outputs`, what `val_step` made of it.
    """
    task.eval()
    unreadable = UnreadableImages(len(cast(Sized, loader.dataset)), loader.max_unreadable, logger)
    for metric in metrics:
        metric.reset(task.tokenizer)
    images, error = 0, None
    try:
        with deferred_checks():
            for number, batch in enumerate(loader):
                if not unreadable.check(batch):
                    continue
                evaluated = task.val_step(batch)
                for metric in metrics:
                    metric.update(evaluated.images, evaluated.output, task.tokenizer)
                images += len(evaluated.images)
                if after_batch is not None:
                    after_batch(batch_idx=number, data_batch=batch, outputs=evaluated)
    except UserError as caught:
        error = caught
    # A rank may have no images of its own, because there are fewer than ranks or it cannot read any: sum over all of them.
    total, broken = sum_or_raise([images, len(unreadable.names)], error)
    unreadable.check_share(broken)
    if not total:
        raise UserError('the evaluation set has no readable image.')
    results: dict[str, MetricValue] = {}
    for metric in metrics:
        metric.reduce()
        results.update(metric.compute())
    return results


@LOOPS.register_module()
class EvaluationLoop(BaseLoop):
    """`Task.evaluate` with the hooks of a run; `results` are the values of the last pass by name."""

    def __init__(self, runner: Any, dataloader: Loader, evaluator: Sequence[Metric]) -> None:
        super().__init__(runner, dataloader)
        self.metrics = list(evaluator)
        self.results: dict[str, MetricValue] = {}

    def run(self) -> dict[str, MetricValue]:
        runner = self.runner
        runner.task.eval()
        runner.call_hook('before_val')
        runner.call_hook('before_val_epoch')
        after_batch = partial(runner.call_hook, 'after_val_iter')
        loader = cast(Loader, self.dataloader)
        self.results = runner.task.evaluate(loader, self.metrics, runner.logger, after_batch)
        runner.call_hook('after_val_epoch', metrics=self.results)
        runner.call_hook('after_val')
        return self.results
