"""Samples as a picture, every so many iterations of a generator's training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from fvq_core.autoencoder import Autoencoder
from fvq_core.errors import UserError
from fvq_core.files.atomic import write_atomically
from fvq_core.images import to_uint8
from fvq_core.registry import HOOKS
from fvq_core.training.hooks import EMAHook

from ..image_generator import ImageGenerator
from ..image_sets.caption_folder import CaptionFolder
from ..image_sets.outputs import png
from ..image_sets.sample_grid import sample_grid


@HOOKS.register_module()
class SampleGridHook(Hook):
    """Writes `samples/iter_N.png`, a row for each class or caption, with the moving average of weights if there is one.

    The seeds are the same each time, so that the pictures of a run show what training changes; drawing uses none of the
    random numbers of training.

    Args:
        interval: Iterations between pictures.
        tokenizer: Folder or repository of the tokenizer; not needed with `model.tokenizer`.
        classes: Classes to draw; by default the first eight. With `captions` their numbers.
        columns: Images of each.
        captions: Folder of caption features, for a generator of captions; see `tools/sample.py --captions`.
        sampling: Fields of the generator's `Sampling`, such as `dict(cfg_scale=2.0)`.

    Raises:
        UserError: No tokenizer, or another than that of the training codes; classes that the generator does not have;
            settings that it cannot draw with; sharded weights.
    """

    priority = 'LOW'

    def __init__(
        self,
        interval: int = 1000,
        tokenizer: str | None = None,
        classes: Sequence[int] | None = None,
        columns: int = 8,
        captions: str | None = None,
        sampling: dict[str, Any] | None = None,
    ) -> None:
        for name, value in dict(interval=interval, columns=columns).items():
            if value < 1:
                raise UserError(f'SampleGridHook: {name} must be 1 or more, got {value}.')
        self.interval, self.columns, self.sampling = interval, columns, dict(sampling or {})
        self.tokenizer, self.classes, self.captions = tokenizer, classes, captions
        self.model: ImageGenerator | None = None

    def before_train(self, runner: Any) -> None:
        task = runner.task
        if task.sharded:
            raise UserError('SampleGridHook: the weights are sharded; draw from the checkpoints with tools/sample.py.')
        autoencoder = task.frozen if self.tokenizer is None else Autoencoder.from_pretrained(self.tokenizer)
        if autoencoder is None:
            raise UserError(
                'SampleGridHook: name the tokenizer of the training codes, default_hooks.samples.tokenizer=FOLDER.'
            )
        learned = task.learned_hash(runner.train_loop.dataloader.dataset)
        self.model = ImageGenerator(task.generator, autoencoder, learned, self.sampling)
        shape = task.generator.caption_shape
        if (shape is None) != (self.captions is None):
            wanted = 'has classes; leave captions out' if shape is None else 'draws from captions; name their folder'
            raise UserError(f'SampleGridHook: this {type(task.generator).__name__} {wanted}.')
        self.folder = None if shape is None or self.captions is None else CaptionFolder(self.captions, *shape)
        available = self.model.num_classes if self.folder is None else len(self.folder)
        self.rows = list(range(min(8, available))) if self.classes is None else list(self.classes)
        wrong = [row for row in self.rows if not 0 <= row < available]
        if wrong or not self.rows:
            raise UserError(f'SampleGridHook: classes are numbers from 0 to {available - 1}, got {self.classes}.')
        with torch.random.fork_rng():
            self._images(self.rows[0], 1)  # what cannot be drawn costs no training

    def after_iteration(self, runner: Any) -> None:
        """Called after each iteration, once it is evaluated."""
        if runner.iter % self.interval == 0 and is_main_process():
            with averaged_weights(runner), torch.random.fork_rng():
                self._draw(runner)

    def _draw(self, runner: Any) -> None:
        picture = sample_grid([self._images(row, self.columns) for row in self.rows])
        path = Path(runner.work_dir) / 'samples' / f'iter_{runner.iter}.png'
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, png(picture), 'Training goes on from its last checkpoint.')
        runner.visualizer.add_image('samples', np.asarray(picture), step=runner.iter)
        runner.logger.info(f'iter {runner.iter} samples: {path}')

    def _images(self, row: int, count: int) -> list[np.ndarray]:
        """The first images of a row, uint8 (H, W, 3)."""
        assert self.model is not None
        cond, mask = [row] * count, {}
        if self.folder is not None:
            cond, mask['caption_mask_BT'] = self.folder.batch(cond)
        first = row * self.columns
        drawn = self.model.sample(cond, seeds=range(first, first + count), **mask)
        return list(to_uint8(drawn).permute(0, 2, 3, 1).cpu().numpy())


@contextmanager
def averaged_weights(runner: Any) -> Iterator[None]:
    """The moving average in place of the weights, if the run keeps one."""
    averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    for hook in averages:
        hook.before_val(runner)
    try:
        yield
    finally:
        for hook in averages:
            hook.after_val(runner)
