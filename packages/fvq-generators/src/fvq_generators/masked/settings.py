"""How a masked model draws: its settings, and the plan of steps that they make."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from fvq_core.sampling_settings import setting

from ..sampling import COLDEST, GuidanceSchedule, Sampler
from .schedules import SCHEDULES, masked_share

TRAINED = 'trained'
ORDERS = ('confidence', 'redraw', 'halton')
CHOICES = ('probability', 'logit')
ANNEALINGS = ('linear', 'inverse')
STEPS = 8  # over the 256 codes of the released model
HOT = 2.0  # times the temperature in `hot_steps`


@dataclass(frozen=True)
class Step:
    """One pass over the image.

    Args:
        scale: Of guidance; 1 needs no second pass.
        temperature: Of the softmax.
        noise: Factor on the Gumbel noise.
        share: Share of the codes to be drawn that is still masked behind it.
    """

    scale: float
    temperature: float
    noise: float
    share: float


@dataclass(frozen=True)
class MaskedSampling(Sampler, GuidanceSchedule):
    """Codes are drawn in a few passes, and in each those that are kept are chosen.

    The defaults are MaskGIT's. TiTok's are `choice='logit'`, and for its published FID the temperature falling from 1.3 to
    0.5. Halton-MaskGIT's is `order='halton'`; `'redraw'` is its confidence sampler, in which progress is counted from 0 at
    the first step to 1 at the last, and every step draws known codes again too.
    """

    steps: int = setting(0, f'decoding steps per image; 0: {STEPS}, or one per code if fewer', least=1, also=(0,))
    mask_schedule: str = setting(TRAINED, 'schedule of the share of codes still masked', choices=(TRAINED, *SCHEDULES))
    order: str = setting('confidence', 'which codes to keep first', choices=ORDERS)
    random_start: bool = setting(False, 'with --order halton, start each image at a random position of the sequence')
    choice: str = setting(
        'probability',
        "what confidence is: a code's log probability, or its logit (then the noise picks the code too)",
        choices=CHOICES,
    )
    choice_temperature: float = setting(
        4.5, 'temperature of the Gumbel noise on confidence, annealed to 0 at the last step', least=0
    )
    final_temperature: float = setting(
        0.0, 'softmax temperature at the last step; 0: same as --temperature', least=COLDEST, also=(0,)
    )
    annealing: str = setting(
        'linear',
        'what is interpolated between the two temperatures: T, after each step, or 1 / T, at it',
        choices=ANNEALINGS,
    )
    hot_steps: int = setting(0, 'sample the first N steps at twice the temperature', least=0)

    def plan(self, trained: str, length: int) -> list[Step]:
        """The steps.

        Args:
            trained: Mask schedule that the model was trained with.
            length: Codes of an image.
        """
        if not self.steps:
            return replace(self, steps=min(STEPS, length)).plan(trained, length)
        schedule = SCHEDULES[trained if self.mask_schedule == TRAINED else self.mask_schedule]
        # In single precision as released, where a share that makes a whole number of codes can fall below it.
        dtype = torch.float64 if self.order == 'confidence' else torch.float32
        planned = []
        for step in range(self.steps):
            after, scale = (step + 1) / self.steps, self.scale_at(step, self.steps + 1)
            if self.order == 'redraw':
                after = step / (self.steps - 1) if self.steps > 1 else 1.0
                scale = self.scale_at(step, self.steps)
            share = masked_share(schedule, torch.tensor(after, dtype=dtype), length).item()
            planned.append(Step(scale, self.temperature_at(step), self.choice_temperature * (1.0 - after), share))
        return planned

    def temperature_at(self, step: int) -> float:
        """The softmax temperature of a step."""
        first, last = self.temperature, self.final_temperature
        value = first
        if last and self.annealing == 'linear':
            value = first + (last - first) * (step + 1) / self.steps
        elif last and first:
            value = 1.0 / (1.0 / first + (1.0 / last - 1.0 / first) * step / max(1, self.steps - 1))
        return value * HOT if step < self.hot_steps else value
