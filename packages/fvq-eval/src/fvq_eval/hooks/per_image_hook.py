"""`per_image.npz`: the scores of each evaluation image, for paired comparisons of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook

from fvq_core.files.arrays import write_npz
from fvq_core.registry import HOOKS

NAME = 'per_image.npz'


@HOOKS.register_module()
class PerImageHook(Hook):
    """After every evaluation: one array for each metric that keeps a number an image, and `labels`, those of the data set.

    A label is the number of the photo in `BundledPhotos`, and the class in a folder of classes. Arrays are in the order of
    the evaluation set on one process, rank after rank on many; two runs over the same set on as many processes can be
    compared image by image.
    """

    def before_val_epoch(self, runner: Any) -> None:
        self.labels: list[torch.Tensor] = []

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.labels.append(data_batch['labels'].cpu())

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        own = {
            metric.name: metric.per_image().numpy()
            for metric in runner.val_loop.metrics
            if hasattr(metric, 'per_image')
        }
        labels = torch.cat([torch.empty(0, dtype=torch.int64), *self.labels])  # a rank may have no image
        ranks = all_gather_object({**own, 'labels': labels.numpy()})
        if not is_main_process():
            return
        arrays = {key: np.concatenate([rank[key] for rank in ranks]) for key in ranks[0]}
        write_npz(Path(runner.work_dir) / NAME, arrays, 'Its old content is intact.')
