"""What models of masked codes share: the way from masks to the codes of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from fvq_core.codes import CodeLayout, Codes, Grid
from fvq_core.codes import Sequence as CodeSequence
from fvq_core.errors import UserError
from fvq_core.generator import Generator

from ..checks import images_to_draw
from ..eval_mode import eval_mode
from ..out_of_memory import memory_advice
from .code_embedding import CodeEmbedding
from .decoding import GuidedLogits, decode
from .draws import Draws
from .halton import halton_order
from .settings import MaskedSampling, Step


class MaskedGenerator(Generator):
    """Draws codes in a few passes over the image; a subclass has the network, its loss and its passes.

    Attributes:
        codes: The vocabulary, and the mask.
        condition: Classes or representations, and which of them training drops.
        mask_schedule: That of training, see `SCHEDULES`.
    """

    Sampling = MaskedSampling
    position_kinds = (Grid, CodeSequence)
    inpaints = True
    layout: CodeLayout  # pyrefly: ignore[bad-override]
    codes: CodeEmbedding
    condition: Any
    mask_schedule = 'cosine'

    def check_condition(self, cond: Tensor) -> None:
        self.condition.check(cond)

    def passes(self, cond: Tensor, sampling: MaskedSampling, blank: bool) -> GuidedLogits:
        """The passes of one call of `sample`, in eval mode.

        Args:
            cond: One condition an image.
            sampling: How codes are drawn.
            blank: No codes are given.
        """
        raise NotImplementedError

    def plan(self, sampling: MaskedSampling) -> tuple[Sequence[Step], Tensor | None]:
        """The steps of a way of sampling, and the order of the codes (L,) if it is fixed.

        Raises:
            UserError: More steps than codes, or the Halton order of codes that are not on a grid.
        """
        L, name = self.layout.length, type(self).__name__
        order_L = halton_order(self.layout) if sampling.order == 'halton' else None
        steps = sampling.plan(self.mask_schedule, L)
        if len(steps) > L:
            raise UserError(f'{name}: {len(steps)} steps for the {L} codes of an image; take at most one a code.')
        return steps, order_L

    @torch.no_grad()
    def sample(
        self,
        cond: Tensor,
        *,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        given: Codes | None = None,
        keep_BL: Tensor | None = None,
        plan: Sequence[Step] | None = None,
        draws: Draws | None = None,
        **settings: Any,
    ) -> Codes:
        """Draw codes for each condition; see `Generator.sample`.

        Args:
            cond: Classes (B,); or representations (B, C) or (B, 1, C), `standardized` or as `RepresentationDiffusion` draws
                them.
            rng, seeds: See `Generator.sample`.
            given: Codes of images to keep in part.
            keep_BL: bool (B, L), True for the given codes that are kept; the others are drawn.
            plan: Steps in place of those that the settings make.
            draws: Random numbers in place of those of the seeds.
            settings: Fields of `Sampling`.

        Raises:
            UserError: Conditions that the model does not have, guidance of a model that was trained without dropping them,
                given codes that do not fit, too little memory, or see `plan`.
        """
        sampling = cast(MaskedSampling, self.Sampling.of(settings))
        steps, order_L = self.plan(sampling)
        steps = steps if plan is None else plan
        drop_rate = self.condition.drop_rate
        cond, seeds = images_to_draw(self, cond, rng, seeds, sampling.cfg_scale, drop_rate, given, keep_BL)
        B, L, device = len(cond), self.layout.length, cond.device
        start_BL = torch.full((B, L), self.codes.vocab_size, device=device)
        if not B:
            return Codes(start_BL, self.layout)
        if given is not None and keep_BL is not None:
            start_BL = torch.where(keep_BL.to(device), given.indices_BL.to(device), start_BL)
        order_L = None if order_L is None else order_L.to(device)
        draws = draws or Draws(seeds, len(steps), L, len(self.codes.factors), device)
        with eval_mode(self), memory_advice(B, device):
            passes = self.passes(cond, sampling, blank=given is None)
            return Codes(decode(passes, self.codes, start_BL, sampling, steps, draws, order_L), self.layout)
