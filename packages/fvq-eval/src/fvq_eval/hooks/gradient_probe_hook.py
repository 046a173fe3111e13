"""Straight-through bias and one-step-behind shift, measured while training (the paper, section 2, appendices D and E)."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from fvq_core.autoencoder import AutoencoderOutput
from fvq_core.errors import UserError
from fvq_core.ops.ranks import average_over_ranks
from fvq_core.quantizer import Quantizer, QuantizerOutput, to_vectors
from fvq_core.registry import HOOKS
from fvq_core.training.hooks.history import HISTORY_NAME, History

from ..analysis.center_shift import Step, assignment_margin, chooses_nearest, largest_shift, shift_means
from ..analysis.straight_through_bias import estimation_error, gradient_bias


@dataclass
class Before:
    """The model before the step, as far as it is compared.

    Attributes:
        output: The quantizer's output for the probe images.
        quantizer: A copy, in eval mode.
        codebook_KD: Its mapped codebook.
        values: What was measured before the step.
    """

    output: QuantizerOutput
    quantizer: Quantizer
    codebook_KD: Tensor
    values: dict[str, Tensor]


@HOOKS.register_module()
class GradientProbeHook(Hook):
    """Around a training step, the same images go through the model twice; `history.jsonl` gets a row of split `probe`.

    The images are the first of the step's own batch, so z_e^(t) is what the step was computed from. A row holds, for
    step t, everything that `estimation_error`, `gradient_bias` and `shift_means` return, and

    - `switched`: codes of the probe that changed, %;
    - `codebook_shift_max` and `latent_shift_max`: delta_c and delta_z (eq. 26), over the codebook and over the probe;
    - `margin` and `may_switch`: the mean of m^(t) (eq. 27), and the latents with m^(t) <= 2 delta_z, %. They are left
      out if the nearest code is not the one that is chosen (another distance, several codes a position), as is
      any value that is not finite.

    Measured in eval mode and float32 on the weights as they are trained; the task loss is reconstruction and perceptual
    loss. With many ranks each measures its own batch: means are averaged, maxima are the largest.

    The run is not changed: no random number is drawn from its sources, no gradient reaches a `.grad`, and training
    goes on bit for bit as without the hook. `tools/analyze.py probe` draws the rows. A probe costs about two training
    steps and, while it lasts, the memory of a copy of the quantizer.

    Args:
        interval: Iterations between probes; the first and the last iteration are always probed.
        images: Images of each rank's batch, at most.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, interval: int = 50, images: int = 16) -> None:
        if interval < 1 or images < 1:
            raise UserError(f'GradientProbeHook: interval and images must be 1 or more, got {interval} and {images}.')
        self.interval, self.images = interval, images
        self.before: Before | None = None

    def before_run(self, runner: Any) -> None:
        if runner.task.autoencoder() is None:
            name = type(runner.task).__name__
            raise UserError(f'GradientProbeHook: {name} trains no tokenizer; set default_hooks.probe=None.')
        self.history = History(Path(runner.work_dir) / HISTORY_NAME)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        iteration = runner.iter + 1
        if iteration % self.interval and iteration not in (1, runner.max_iters):
            return
        task = runner.task
        with undisturbed(task):
            images = self._images(task, data_batch)
            output = quantize(task, images)

            def task_loss(z_BDHW: Tensor) -> Tensor:
                decoded = task.tokenizer.decode_latent(z_BDHW)
                terms = task.losses(images, AutoencoderOutput(decoded))
                return torch.stack(list(terms.values())).sum()

            values = {
                **estimation_error(latent(output), output.z_q_BDHW),
                **gradient_bias(task_loss, latent(output), output.z_q_BDHW),
            }
            quantizer = silent_copy(task.tokenizer.quantizer)
            with torch.no_grad():
                self.before = Before(output, quantizer, quantizer.codebook().clone(), values)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        before, self.before = self.before, None
        if before is None:
            return
        with undisturbed(runner.task), torch.no_grad():
            after = quantize(runner.task, self._images(runner.task, data_batch))
            means, maxima = compare(before, after, runner.task.tokenizer.quantizer)
        means = {**before.values, **means}
        mean_values, largest_values = torch.stack(list(means.values())), torch.stack(list(maxima.values()))
        average_over_ranks([mean_values])
        all_reduce(largest_values, op='max')
        values = zip([*means, *maxima], torch.cat([mean_values, largest_values]).tolist(), strict=True)
        row = {name: value for name, value in values if math.isfinite(value)}
        if is_main_process():
            self.history.append({'iter': runner.iter + 1, 'split': 'probe', **row})
            scalars = {f'probe/{name}': value for name, value in row.items()}
            runner.visualizer.add_scalars(scalars, step=runner.iter + 1)

    def _images(self, task: Any, data_batch: Any) -> Tensor:
        return task.images(data_batch[0])[: self.images]


def latent(output: QuantizerOutput) -> Tensor:
    """The latent that was compared with codes."""
    if output.z_BDHW is None:
        raise UserError('GradientProbeHook: this quantizer compares no latents to codes; set default_hooks.probe=None.')
    return output.z_BDHW


def compare(
    before: Before, after: QuantizerOutput, quantizer: Quantizer
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Means and maxima of what the step moved, float64 scalars by name."""
    old = before.output
    grids = {
        'z_old_ND': latent(old),
        'z_new_ND': latent(after),
        'chosen_old_ND': old.z_q_BDHW,
        'chosen_new_ND': after.z_q_BDHW,
        'switched_ND': before.quantizer.embed(after.codes),
        'kept_ND': quantizer.embed(old.codes),
    }
    step = Step(**{name: to_vectors(grid).double() for name, grid in grids.items()})
    means = shift_means(step)
    means['switched'] = 100.0 * (old.codes.indices_BL != after.codes.indices_BL).double().mean()
    maxima = {
        'latent_shift_max': largest_shift(step.z_old_ND, step.z_new_ND),
        'codebook_shift_max': largest_shift(before.codebook_KD, quantizer.codebook()).double(),
    }
    margin_N = step.z_old_ND.new_full((1,), torch.nan)  # every rank must hold the same names
    if chooses_nearest(step, before.codebook_KD):
        margin_N = assignment_margin(step.z_old_ND, before.codebook_KD).double()
    means['margin'] = margin_N.mean()
    means['may_switch'] = 100.0 * (margin_N <= 2.0 * maxima['latent_shift_max']).double().mean() + 0.0 * means['margin']
    return means, maxima


@torch.no_grad()
def quantize(task: Any, images_BCHW: Tensor) -> QuantizerOutput:
    """Latents, codes and quantized latents of images, in the mode that the task is in.

    `forward` itself is called, because other hooks on the quantizer are there for its training batches.
    """
    return task.tokenizer.require_quantizer('GradientProbeHook').forward(task.tokenizer.encode_latent(images_BCHW))


def silent_copy(quantizer: Quantizer) -> Quantizer:
    """A deep copy without the forward hooks on the quantizer and its parts."""
    kinds = ('_forward_hooks', '_forward_pre_hooks')
    without = {id(getattr(module, kind)): OrderedDict() for module in quantizer.modules() for kind in kinds}
    return copy.deepcopy(quantizer, without)


@contextmanager
def undisturbed(task: Any) -> Iterator[None]:
    """Inside, the task is in eval mode; afterwards the random state is what it was before."""
    device = next(task.parameters()).device
    task.eval()
    try:
        with torch.random.fork_rng([device] if device.type == 'cuda' else []):
            yield
    finally:
        task.train()
