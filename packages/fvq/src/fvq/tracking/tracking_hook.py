"""Pictures and checkpoints of a run, for its trackers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from fvq_core.autoencoder import AutoencoderOutput
from fvq_core.data.decoding import decode
from fvq_core.errors import UserError
from fvq_core.quantizer import to_vectors
from fvq_core.registry import HOOKS
from fvq_core.stamp import versions
from fvq_eval.plots.codebook_plot import plot_codebook
from fvq_eval.plots.reconstruction_grid import save_reconstruction_grid

from .trackers import Trackers


@HOOKS.register_module()
class TrackingHook(Hook):
    """Gives the trackers a grid of reconstructions and the codebook's picture at each evaluation, and what each checkpoint is.

    Curves come from `TrainingLogHook`, sample grids from `SampleGridHook`. Images are those that the evaluation reconstructs
    anyway. The run is not changed: nothing random is drawn, and a picture that cannot be drawn costs one warning.

    Args:
        pictures: Number of images in the grid.
        latents: Largest number of latent vectors in the picture of the codebook.
    """

    priority = 'LOWEST'  # after the checkpoint, and after the report of a finished run

    def __init__(self, pictures: int = 10, latents: int = 4096) -> None:
        if pictures < 1 or latents < 1:
            raise UserError(f'TrackingHook: pictures and latents must be 1 or more, got {pictures} and {latents}.')
        self.pictures, self.latents = pictures, latents
        self.pairs: list[tuple[Tensor, Tensor]] = []
        self.vectors: list[Tensor] = []
        self.draws = True
        self.evaluated: tuple[int, dict[str, float]] = (0, {})  # the last evaluation: its iteration and values

    def before_run(self, runner: Any) -> None:
        if not isinstance(runner.visualizer, Trackers):
            raise UserError("TrackingHook: it needs visualizer.type='Trackers'; tools/train.py --track sets both.")

    def before_val_epoch(self, runner: Any) -> None:
        self.pairs, self.vectors = [], []

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        output = getattr(outputs, 'output', None)
        if not is_main_process() or not isinstance(output, AutoencoderOutput):  # a generator's losses
            return
        if sum(len(images) for images, _ in self.pairs) < self.pictures:
            self.pairs.append((outputs.images.cpu(), output.reconstruction.cpu()))
        z_BDHW = None if output.quantized is None else output.quantized.z_BDHW
        if z_BDHW is not None and sum(map(len, self.vectors)) < self.latents:
            self.vectors.append(to_vectors(z_BDHW).cpu()[: self.latents])

    @torch.no_grad()
    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        self.evaluated = runner.iter, {name: metric.value for name, metric in (metrics or {}).items()}
        if not self.pairs:
            return
        images, made = (torch.cat(parts)[: self.pictures] for parts in zip(*self.pairs, strict=True))
        self._add(runner, 'reconstructions', lambda path: save_reconstruction_grid(images, made, path))
        counts = [found for metric in runner.val_loop.metrics if (found := metric.code_counts()) is not None]
        if counts:
            codebook, z_ND = runner.task.tokenizer.quantizer.codebook().cpu(), None
            if self.vectors:
                z_ND = torch.cat(self.vectors)[: self.latents]
            self._add(runner, 'codebook', lambda path: plot_codebook(counts[0].cpu(), codebook, z_ND, path))
        self.pairs, self.vectors = [], []

    def _add(self, runner: Any, name: str, draw: Callable[[Path], None]) -> None:
        """Draw a picture into a file, and record its pixels."""
        if not self.draws:
            return
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f'{name}.png'
                draw(path)
                pixels = np.asarray(decode(path.read_bytes()))
        except Exception as error:  # drawing libraries raise anything, and no picture is worth a run
            self.draws = False
            runner.logger.warning(f'the trackers get no more pictures: {name} cannot be drawn ({error!r}).')
            return
        runner.visualizer.add_image(name, pixels, step=runner.iter)

    def after_iteration(self, runner: Any) -> None:
        """Called by the training loop when an iteration, its evaluation and its checkpoint are done."""
        path = Path(runner.work_dir) / f'iter_{runner.iter}.pth'
        if not is_main_process() or not path.exists():
            return
        facts: dict[str, Any] = {'path': str(path), 'iter': runner.iter, 'bytes': path.stat().st_size}
        facts |= {'seed': runner.seed, 'versions': versions()}
        if self.evaluated[0] == runner.iter:
            facts['metrics'] = self.evaluated[1]
        runner.visualizer.add_checkpoint(facts, runner.iter)

    def after_run(self, runner: Any) -> None:
        runner.visualizer.close()
