"""Drawing a pyramid of codes, all of a scale at once, with a cache of the scales before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.codes import CodeLayout, Codes, Grid, LatentLayout, Latents, Pyramid
from fvq_core.errors import UserError
from fvq_core.quantizer import NextScale
from fvq_core.sampling_settings import setting

from .layers.cross_attention import Text
from .layers.kv_cache import KVCache
from .sampling import SCHEDULES, GuidanceSchedule, Pick, Sampler, filter_logits, guide, uniforms

LOGITS_AT_ONCE = 2**25  # 128 MiB in float32
# Temperature of mixtures: at the first scale, how much of it has gone at the last, and at least.
HOTTEST, COOLED, COOLEST = 0.27, 0.95, 0.005


@dataclass(frozen=True)
class ScaleSampling(Sampler, GuidanceSchedule):
    """Guidance along the scales, and how a code is chosen from its logits."""


@dataclass(frozen=True)
class NextScaleSampling(ScaleSampling):
    """Guidance that rises along the scales, how a code is chosen from its logits, and mixtures in place of codes."""

    cfg_schedule: str = setting('linear', 'schedule of the guidance scale over the scales', choices=SCHEDULES)
    more_smooth: bool = setting(
        False, 'mix codes (Gumbel-softmax) instead of sampling one: smoother images, not for scores'
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.more_smooth and self.greedy:
            raise UserError('sampling: more_smooth mixes random draws, and temperature is 0; leave one of them out.')

    def mixture(self, logits_LV: Tensor, noise_LV: Tensor, share: float) -> Tensor:
        """Weights (L, V) of the codes in each position's mixture: softmax((logits x (1 + share) + noise) / temperature).

        Args:
            logits_LV: float32 logits.
            noise_LV: Draws of Gumbel's distribution.
            share: 0 at the first scale to 1 at the last; mixtures become sharper.
        """
        logits_LV = filter_logits(logits_LV / self.temperature, self.top_k, self.top_p)
        temperature = max(HOTTEST * (1 - COOLED * share), COOLEST)
        return ((logits_LV * (1 + share) + noise_LV) / temperature).softmax(-1)


class NextScaleModel(Protocol):
    """What drawing asks of a model, which is a module in eval mode; see `NextScaleGenerator`."""

    layout: CodeLayout
    rotations: Tensor | None
    shared_modulation: Any
    blocks: Any
    norm: Any

    @property
    def pyramid(self) -> Pyramid: ...

    def conditions(
        self, cond: Tensor, caption_mask_BT: Tensor | None = None, guided: bool = False
    ) -> tuple[Tensor, Text | None]: ...

    def tokens(self, inputs_BLC: Tensor, cond_B1D: Tensor, first_scale: int = 0) -> Tensor: ...

    def logits(self, features: Tensor) -> Tensor: ...

    def new_cache(self, batch: int) -> KVCache: ...


class KnownCodes:
    """Codes that are kept, by scale.

    Args:
        given: Codes of images.
        keep_BL: bool, True for those that are kept.
    """

    def __init__(self, given: Codes, keep_BL: Tensor) -> None:
        lengths = codes_of_scales(given.layout)
        self.whole = [bool(keep_Bl.all()) for keep_Bl in keep_BL.cpu().split(lengths, 1)]  # scales with nothing to draw
        self.indices = given.indices_BL.split(lengths, 1)
        self.keep = keep_BL.to(given.indices_BL.device).split(lengths, 1)


def codes_of_scales(layout: CodeLayout) -> tuple[int, ...]:
    """The number of codes of each scale: its positions x slots."""
    return tuple(length * layout.slots for length in cast(Pyramid, layout.positions).lengths)


def look_up(codebook_KC: Tensor, indices_BL: Tensor, slots: int) -> Tensor:
    """Code vectors (B, positions, slots x C); the slots of a position are its channels, one behind the other."""
    return F.embedding(indices_BL, codebook_KC).unflatten(1, (-1, slots)).flatten(2)


@torch.no_grad()
def draw_scales(
    model: NextScaleModel,
    quantizer: NextScale,
    cond: Tensor,
    seeds: Sequence[int],
    sampling: ScaleSampling,
    known: KnownCodes | None = None,
    pick: Pick | None = None,
    caption_mask_BT: Tensor | None = None,
) -> Codes | Latents:
    """Codes of each condition, or with `more_smooth` the sum of what was mixed.

    Guidance reads each image twice, with the condition and without. It is applied to what the head reads: the head is linear,
    so its logits are guided too, and there are half as many. A condition does not change while its image is drawn, so what
    it modulates is computed once.

    Args:
        model: Generator in eval mode.
        quantizer: That of its tokenizer.
        cond: Classes (B,) or caption features (B, T, C), on the model's device.
        seeds: One for each condition.
        sampling: Settings.
        known: Codes that are not drawn.
        pick: Chooses tokens in place of `Sampler`.
        caption_mask_BT: bool, True for real caption tokens.

    Raises:
        UserError: Numbers that are not finite.
    """
    scales, lengths, slots, B = model.pyramid.scales, model.pyramid.lengths, model.layout.slots, len(cond)
    pick, guided, device = pick or sampling.part(Sampler), sampling.active, cond.device
    smooth = sampling if isinstance(sampling, NextScaleSampling) and sampling.more_smooth else None
    uniform = uniforms(seeds, model.layout.length).to(device).split(codes_of_scales(model.layout), 1)
    rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
    codebook_KC = quantizer.codebook()
    cond_B1D, text = model.conditions(cond, caption_mask_BT, guided)
    modulated = cond_B1D if model.shared_modulation is None else model.shared_modulation(cond_B1D)
    parts = [block.modulation(modulated) for block in model.blocks]
    texts: list[tuple[Text, ...]] = [() if text is None else (text.kept_for(block),) for block in model.blocks]
    cache = model.new_cache(len(cond_B1D))
    C = slots * codebook_KC.shape[1]
    sum_BCHW = codebook_KC.new_zeros(B, C, *scales[-1])
    inputs_BLC = codebook_KC.new_empty(len(cond_B1D), 0, C)
    drawn: list[Tensor] = []
    for scale, size in enumerate(scales):
        x_BLD = model.tokens(inputs_BLC, cond_B1D, scale)
        first = sum(lengths[:scale])
        rotations = None if model.rotations is None else model.rotations[first : first + lengths[scale]]
        for layer, block in enumerate(model.blocks):
            x_BLD = block(x_BLD, None, (), cache, layer, first, rotations, *texts[layer], parts_BL6D=parts[layer])
        if known is not None and known.whole[scale]:
            drawn.append(known.indices[scale])
            codes_BLC = look_up(codebook_KC, drawn[-1], slots)
        else:
            x_BLD = model.norm(x_BLD, cond_B1D)
            x_BLD = guide(x_BLD, sampling.scale_at(scale, len(scales))) if guided else x_BLD
            if scale == 0 and not x_BLD.isfinite().all():
                raise UserError(
                    'sampling: what the first scale is drawn from is not finite; the weights are broken, or overflow in this '
                    'precision.'
                )
            if smooth is not None:
                share = scale / max(1, len(scales) - 1)
                codes_BLC = mix_codes(model, x_BLD, codebook_KC, rngs, smooth, share)
                if known is not None:
                    kept_BLC = F.embedding(known.indices[scale], codebook_KC)
                    codes_BLC = torch.where(known.keep[scale][..., None], kept_BLC, codes_BLC)
            else:
                indices_BL = draw_codes(model, x_BLD, uniform[scale], pick)
                if known is not None:
                    indices_BL = torch.where(known.keep[scale], known.indices[scale], indices_BL)
                drawn.append(indices_BL)
                codes_BLC = look_up(codebook_KC, indices_BL, slots)
        sum_BCHW, next_BChw = quantizer.advance(sum_BCHW, codes_BLC.transpose(1, 2).unflatten(2, size), scale)
        inputs_BLC = next_BChw.flatten(2).transpose(1, 2)
        inputs_BLC = inputs_BLC.repeat(2, 1, 1) if guided else inputs_BLC
    if smooth is not None:
        return Latents(sum_BCHW, LatentLayout(Grid(*scales[-1]), sum_BCHW.shape[1]))
    return Codes(torch.cat(drawn, 1), model.layout)


def draw_codes(model: NextScaleModel, x_BLD: Tensor, uniform_BL: Tensor, pick: Pick) -> Tensor:
    """Codes (B, L) of what the head reads, of all slots; the logits of a few rows at a time."""
    V, slots = model.layout.vocab_size, model.layout.slots
    rows = max(1, LOGITS_AT_ONCE // (V * slots))
    some = zip(x_BLD.flatten(0, 1).split(rows), uniform_BL.flatten().split(rows * slots), strict=True)
    return torch.cat([pick(model.logits(x_ND).view(-1, V), uniform_N) for x_ND, uniform_N in some]).view_as(uniform_BL)


def mix_codes(
    model: NextScaleModel,
    x_BLD: Tensor,
    codebook_KC: Tensor,
    rngs: Sequence[torch.Generator],
    sampling: NextScaleSampling,
    share: float,
) -> Tensor:
    """Mixtures of code vectors (B, L, C), each image with noise of its own; see `NextScaleSampling.mixture`."""
    mixtures = []
    for x_LD, rng in zip(x_BLD, rngs, strict=True):
        logits_LV = model.logits(x_LD)
        noise_LV = -torch.empty(logits_LV.shape).exponential_(generator=rng).log()
        mixtures.append(sampling.mixture(logits_LV, noise_LV.to(x_LD.device), share) @ codebook_KC)
    return torch.stack(mixtures)
