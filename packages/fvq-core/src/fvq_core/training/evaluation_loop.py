"""One pass over the evaluation set with every metric; used for validation and for testing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Any, cast

import torch
from mmengine.runner import BaseLoop

from ..data.loader import build_loader
from ..data.sample import UnreadableImages
from ..errors import UserError
from ..metric import Metric, MetricValue
from ..ops.ranks import sum_or_raise
from ..registry import LOOPS, METRICS


@LOOPS.register_module()
class EvaluationLoop(BaseLoop):
    """Evaluates in eval mode and float32.

    Args:
        runner: The Runner.
        dataloader: Config of the evaluation data; see `build_loader`.
        evaluator: Configs of components of `METRICS`.

    Attributes:
        results: Values of the last pass by name.
    """

    def __init__(self, runner: Any, dataloader: Mapping[str, Any], evaluator: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(runner, build_loader(dataloader, runner.seed, train=False))
        self.metrics: list[Metric] = [METRICS.build(metric) for metric in evaluator]
        self.allowed_unreadable = dataloader.get('max_unreadable', 0.1)
        self.results: dict[str, MetricValue] = {}

    @torch.no_grad()
    def run(self) -> dict[str, MetricValue]:
        runner = self.runner
        task = runner.task.eval()
        runner.call_hook('before_val')
        runner.call_hook('before_val_epoch')
        unreadable = UnreadableImages(len(cast(Sized, self.dataloader.dataset)), self.allowed_unreadable, runner.logger)
        for metric in self.metrics:
            metric.reset(task.tokenizer)
        mine, error = 0, None
        try:
            for index, batch in enumerate(self.dataloader):
                if not unreadable.check(batch):
                    continue
                evaluated = task.val_step(batch)
                for metric in self.metrics:
                    metric.update(evaluated.images, evaluated.output, task.tokenizer)
                mine += len(evaluated.images)
                runner.call_hook('after_val_iter', batch_idx=index, data_batch=batch, outputs=evaluated)
        except UserError as caught:
            error = caught
        # A rank may have no image of its own, if there are fewer than ranks or if it cannot read any: ask all of them.
        seen, broken = sum_or_raise([mine, len(unreadable.names)], error)
        unreadable.check_share(broken)
        if not seen:
            raise UserError('the evaluation set has no readable image.')
        self.results = {}
        for metric in self.metrics:
            metric.reduce()
            self.results.update(metric.compute())
        runner.call_hook('after_val_epoch', metrics=self.results)
        runner.call_hook('after_val')
        return self.results
