"""Perturbed codes in training, so that the decoder forgives the codes that a generator gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from mmengine.hooks import Hook

from fvq_core.errors import UserError
from fvq_core.ops.latent_perturbation import LatentPerturbation
from fvq_core.quantizer import Quantizer, QuantizerOutput
from fvq_core.registry import HOOKS


@HOOKS.register_module()
class LatentPerturbationHook(Hook):
    """The decoder of a training tokenizer sees some images with codes replaced by near ones; see `LatentPerturbation`.

    Codes, usage and the quantizer's losses stay those of the encoder. Defaults are RobustTok's (`configs/RobustTok.yaml` of
    ImageFolder); there rate and number of codes fall from epoch 40 to 120 of 200 to one half.

    Args:
        rate: Probability of each position, alpha; in [0, 1].
        images: Share of each batch that is perturbed, beta; its first images, rounded down. In [0, 1].
        nearest: Codes to draw from, delta.
        anneal: Fractions of the run between which `rate` and `nearest` fall linearly; None keeps them.
        end: What is left of them then, in [0, 1].

    Raises:
        UserError: Values out of range; codes that cannot be replaced one by one.
    """

    def __init__(
        self,
        rate: float = 1.0,
        images: float = 0.1,
        nearest: int = 100,
        anneal: Sequence[float] | None = (0.2, 0.6),
        end: float = 0.5,
    ) -> None:
        ends = (0.0, 1.0) if anneal is None else tuple(anneal)
        if len(ends) != 2 or not 0 <= ends[0] <= ends[1] <= 1 or not 0 <= images <= 1 or not 0 <= end <= 1:
            raise UserError(
                'LatentPerturbationHook: expected images and end in [0, 1] and anneal as two rising fractions of the run, got '
                f"images={images}, end={end}, anneal={anneal}; 0.1, 0.5 and (0.2, 0.6) are RobustTok's."
            )
        self.full, self.images = LatentPerturbation(rate, nearest), images
        self.anneal, self.end = None if anneal is None else ends, end
        self.current = self.full

    def before_train(self, runner: Any) -> None:
        quantizer = runner.task.tokenizer.require_quantizer('LatentPerturbationHook')
        self.full.check(quantizer)
        batch = runner.train_dataloader.batch_size
        if self.images and not int(batch * self.images):
            runner.logger.warning(
                f'LatentPerturbationHook: {self.images:g} of a batch of {batch} is less than one image, so none is perturbed; '
                f'images={1 / batch:g} is one.'
            )
        self.handle = quantizer.register_forward_hook(self.perturb)

    def after_train(self, runner: Any) -> None:
        self.handle.remove()

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        share = self.share(runner.iter / runner.max_iters)
        self.current = LatentPerturbation(share * self.full.rate, max(1, int(share * self.full.nearest)))

    def share(self, progress: float) -> float:
        """What is left of rate and codes after a fraction of the run."""
        if self.anneal is None:
            return 1.0
        start, stop = self.anneal
        passed = float(progress > stop) if start == stop else (progress - start) / (stop - start)
        return 1.0 - (1.0 - self.end) * min(1.0, max(0.0, passed))

    @torch.compiler.disable  # rate and number change while training, and a graph would be made anew for each
    def perturb(self, quantizer: Quantizer, inputs: Any, output: QuantizerOutput) -> QuantizerOutput | None:
        """A forward hook: the output with its first images perturbed, in training."""
        if not quantizer.training:
            return None
        count = int(len(output.z_q_BDHW) * self.images)
        if not count:
            return None
        first = QuantizerOutput(
            output.z_q_BDHW[:count],
            replace(output.codes, indices_BL=output.codes.indices_BL[:count]),
            None if output.z_BDHW is None else output.z_BDHW[:count],
        )
        latent = torch.cat([self.current.latent(quantizer, first), output.z_q_BDHW[count:]])
        return replace(output, z_q_BDHW=latent)
