"""Drawing tokens from logits: the filters that every sampler shares, and draws that do not depend on the batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import index

import torch
from torch import Tensor

from fvq_core.errors import NonFiniteError, UserError
from fvq_core.ops.finite import can_sync
from fvq_core.sampling_settings import SamplingSettings, setting

from .ops.draw import DRAW, draw_token

# Logits float32 (B, V) and one number in [0, 1) a row -> tokens (B,). A frozen dataclass such as `Sampler`, so that compiled
# steps can be found again.
Pick = Callable[[Tensor, Tensor], Tensor]

COLDEST = 1e-5
# Share of the way from no guidance to the whole scale, by the share of the codes that are drawn.
SCHEDULES: dict[str, Callable[[float], float]] = {
    'constant': lambda drawn: 1.0,
    'linear': lambda drawn: drawn,
    'cosine': lambda drawn: (1.0 - math.cos(math.pi * drawn)) / 2,
}


def filter_logits(logits_BV: Tensor, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Set to -inf what top-k and then top-p (nucleus) sampling leave out.

    Args:
        logits_BV: Logits (B, V), any float dtype; not changed.
        top_k: Keep the k largest, and all that equal the k-th; 0 keeps every token.
        top_p: Of what top-k kept, keep the smallest set of likeliest tokens whose probability exceeds `top_p`; 1 keeps
            every token. The likeliest token is always kept.

    Raises:
        UserError: `top_k` below 0 or `top_p` outside (0, 1].
    """
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not isinstance(top_p, int | float):
        raise UserError(f'filter_logits: top_k is a whole number and top_p a number, got {top_k!r} and {top_p!r}.')
    if top_k < 0 or not 0.0 < top_p <= 1.0:
        raise UserError(f'filter_logits: need top_k >= 0 and 0 < top_p <= 1, got {top_k} and {top_p}.')
    if 0 < top_k < logits_BV.shape[-1]:
        kth = logits_BV.topk(top_k, dim=-1).values[..., -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < kth, -torch.inf)
    if top_p < 1.0:
        ordered, order = logits_BV.sort(descending=True, dim=-1)
        p = ordered.softmax(-1)
        before = p.cumsum(-1) - p  # probability of all likelier tokens
        drop = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, before > top_p)
        logits_BV = logits_BV.masked_fill(drop, -torch.inf)
    return logits_BV


def uniforms(seeds: Sequence[int], draws: int) -> Tensor:
    """Numbers in [0, 1) of each sample's own random stream: float64 (B, draws), on the CPU.

    They depend only on the sample's seed, not on the batch, the device or the number of processes.
    """
    rows = [torch.rand(draws, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, draws, dtype=torch.float64)


def new_seeds(count: int, rng: torch.Generator | None) -> list[int]:
    """Seeds of that many samples, from a generator or from torch's own."""
    device = 'cpu' if rng is None else rng.device
    return torch.randint(2**62, (count,), generator=rng, device=device).tolist()


def check_seeds(seeds: Sequence[int], count: int) -> list[int]:
    """The seeds as Python numbers; raises unless they are one whole number of 64 bits for each sample."""
    try:
        numbers = [index(seed) for seed in seeds]
    except TypeError as error:
        raise UserError(f'sampling: seeds are a list of whole numbers, got {seeds!r}.') from error
    if len(numbers) != count:
        raise UserError(f'sampling: {len(numbers)} seeds for {count} conditions; give one each.')
    wrong = [number for number in numbers if not -(2**63) <= number < 2**64]
    if wrong:
        raise UserError(f'sampling: seeds have at most 64 bits, got {wrong[0]}.')
    return numbers


def check_logits(logits_BV: Tensor) -> None:
    """Raise if the first logits of images are not finite."""
    if not logits_BV.isfinite().all():
        raise UserError(
            'sampling: the logits of the first code are not finite, so that nothing can be drawn; the weights are broken, or '
            'overflow in this precision.'
        )


def check_drawable(logits: Tensor) -> None:
    """Raise a `NonFiniteError` on a CPU if logits (..., V) are NaN or inf; -inf is a token that is not drawn.

    Elsewhere looking would wait for the device.
    """
    if can_sync(logits, wait=False) and not (logits.amax(-1) < torch.inf).all():
        raise NonFiniteError(
            'sampling: the logits of a code are not finite, so that nothing can be drawn; the weights are broken, or overflow '
            'in this precision.'
        )


def draw(logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """One token of each row by inverting the cumulative distribution, int64 (B,).

    One number a row decides, so that a sample is the same in any batch; sums are in float64, where 262,144 probabilities
    add up to 1 within 1e-11. A token at -inf is never drawn.

    Args:
        logits_BV: float32 logits.
        uniform_B: float64 in [0, 1).
    """
    cumulative_BV = logits_BV.softmax(-1).double().cumsum(-1)
    # Below 1 by more than rounding can add, so that the last token with any probability is the last that can be reached.
    wanted_B1 = uniform_B.clamp(max=1.0 - 2.0**-48)[:, None] * cumulative_BV[:, -1:]
    return torch.searchsorted(cumulative_BV, wanted_B1, right=True)[:, 0]


def draw_among_largest(logits_BV: Tensor, uniform_B: Tensor, top_k: int, top_p: float) -> Tensor:
    """`draw` of what `filter_logits` leaves, without sorting or summing more than the k largest of each row.

    A sort of all tokens costs more than a small model. Rows in which others equal the k-th take the long way.

    Args:
        logits_BV: float32 logits on a CPU.
        uniform_B: float64 in [0, 1).
        top_k: From 1 to V - 1.
        top_p: See `filter_logits`.
    """
    values_BK, tokens_BK = logits_BV.topk(top_k + 1, dim=-1)
    tied_B = values_BK[:, -1] == values_BK[:, -2]
    values_BK, tokens_BK = values_BK[:, :-1], tokens_BK[:, :-1]
    p_BK = values_BK.softmax(-1)
    if top_p < 1.0:
        p_BK = p_BK.masked_fill(p_BK.cumsum(-1) - p_BK > top_p, 0.0)
    tokens_BK, order = tokens_BK.sort(-1)  # as `draw` goes through them
    cumulative_BK = p_BK.gather(-1, order).double().cumsum(-1)
    wanted_B1 = uniform_B.clamp(max=1.0 - 2.0**-48)[:, None] * cumulative_BK[:, -1:]
    drawn_B = tokens_BK.gather(-1, torch.searchsorted(cumulative_BK, wanted_B1, right=True))[:, 0]
    if tied_B.any():
        drawn_B[tied_B] = draw(filter_logits(logits_BV[tied_B], top_k, top_p), uniform_B[tied_B])
    return drawn_B


@dataclass(frozen=True)
class Sampler(SamplingSettings):
    """How a token is chosen from logits.

    Args:
        temperature: Logits are divided by it; 0 takes the likeliest token. Below 1e-5, where the release cuts it off too,
            quotients leave float32's range.
        top_k, top_p: See `filter_logits`.
    """

    temperature: float = setting(1.0, 'softmax temperature; 0 takes the most likely code', least=COLDEST, also=(0,))
    top_k: int = setting(0, 'sample from the k most likely codes; 0: from all', least=0)
    top_p: float = setting(
        1.0, 'nucleus sampling: from the most likely codes of this total probability', above=0, most=1
    )

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken."""
        return self.temperature == 0.0

    def __call__(self, logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
        """Tokens (B,) from float32 logits (B, V) and one number in [0, 1) a row.

        Raises:
            NonFiniteError: See `check_drawable`.
        """
        check_drawable(logits_BV)
        if self.greedy:
            return logits_BV.argmax(-1)
        if DRAW.enabled(logits_BV.device):
            return draw_token(logits_BV, uniform_B, self.temperature, self.top_k, self.top_p)
        if self.temperature != 1.0:
            logits_BV = logits_BV / self.temperature
        on_cpu = logits_BV.device.type == 'cpu' and not torch.compiler.is_compiling()
        if on_cpu and 0 < self.top_k < logits_BV.shape[1] // 2:
            return draw_among_largest(logits_BV, uniform_B, self.top_k, self.top_p)
        return draw(filter_logits(logits_BV, self.top_k, self.top_p), uniform_B)


@dataclass(frozen=True)
class Guidance(SamplingSettings):
    """Classifier-free guidance (Ho and Salimans, 2022): `unconditional + cfg_scale x (conditional - unconditional)`; 1 is none.

    Raises:
        UserError: A value out of range.
    """

    cfg_scale: float = setting(1.0, 'classifier-free guidance scale; 1: no guidance', least=1, flag='--cfg')

    @property
    def active(self) -> bool:
        """Whether there is any."""
        return self.cfg_scale > 1.0


@dataclass(frozen=True)
class GuidanceInterval(Guidance):
    """Guide the first code and `cfg_interval + 1` more, then use conditional logits only, as LlamaGen does; -1 guides all."""

    cfg_interval: int = setting(-1, 'guide only the first N + 2 codes; -1: all', least=-1)

    def at(self, number: int) -> bool:
        """Whether code `number` (from 0) of a sequence is guided."""
        return self.active and (self.cfg_interval < 0 or number <= self.cfg_interval + 1)


@dataclass(frozen=True)
class GuidanceSchedule(Guidance):
    """A scale that is `'constant'`, as in LlamaGen; or rises from 1 at the first code to the whole scale at the last:
    `'linear'`, as VAR raises it over its scales, or `'cosine'`, along half a wave. A power above 1 makes it rise later: TiTok's
    and RAR's "power-cosine" is the cosine with one."""

    cfg_schedule: str = setting('constant', 'schedule of the guidance scale over the image', choices=SCHEDULES)
    cfg_power: float = setting(1.0, 'exponent on the share of the image that is done, before the schedule', above=0)

    def scale_at(self, number: int, length: int) -> float:
        """The scale for code `number` (from 0) of a sequence of `length`."""
        drawn = (number / max(1, length - 1)) ** self.cfg_power
        return 1.0 + (self.cfg_scale - 1.0) * SCHEDULES[self.cfg_schedule](drawn)


@dataclass(frozen=True)
class SequenceGuidance(GuidanceSchedule, GuidanceInterval):
    """Guidance of codes that are drawn one after another, with an interval and a schedule."""


@dataclass(frozen=True)
class RisingGuidance(SequenceGuidance):
    """For code i of L, i / L of the schedule where it would be i / (L - 1): the full scale is never reached."""

    cfg_schedule: str = setting('linear', 'schedule of the guidance scale over the image', choices=SCHEDULES)

    def scale_at(self, number: int, length: int) -> float:
        return super().scale_at(number, length + 1)


def guide(logits_BV: Tensor, scale: float | Tensor) -> Tensor:
    """Logits of the conditional half, then the unconditional half (2B, V), to (B, V)."""
    conditional, unconditional = logits_BV.chunk(2)
    return unconditional + (conditional - unconditional) * scale
