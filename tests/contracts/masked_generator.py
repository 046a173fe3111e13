"""A small MaskGIT (Chang et al., 2022): a generator that is nothing like LlamaGen, with settings of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import Codes, Positions, Targets, layout_from_dict
from fvq_core.generator import Generator
from fvq_core.registry import GENERATORS
from fvq_core.sampling_settings import setting
from fvq_generators.sampling import Guidance, check_seeds, draw, guide, new_seeds, uniforms


@GENERATORS.register_module()
class TinyMasked(Generator):
    """Predicts masked codes from the others; sampling reveals the most confident ones, in a few steps."""

    @dataclass(frozen=True)
    class Sampling(Guidance):
        steps: int = setting(4, 'in how many steps all codes are revealed', least=1)
        choice_temperature: float = setting(1.0, 'of the noise on confidences', least=0)

    inpaints = True
    position_kinds = (Positions,)  # any: each code is one of a list
    position_numbers: Tensor

    def __init__(self, layout: Mapping[str, Any], dim: int = 16, num_classes: int = 5) -> None:
        super().__init__()
        self.layout, self.num_classes = layout_from_dict(layout), num_classes
        V, L = self.layout.vocab_size, self.layout.length
        self.codes = nn.Embedding(V + 1, dim)  # the last is the mask
        self.position_embedding = nn.Embedding(L, dim)
        self.classes = nn.Embedding(num_classes + 1, dim)  # the last is none
        self.blocks = nn.ModuleList([nn.TransformerEncoderLayer(dim, 2, 2 * dim, 0.0, batch_first=True)])
        self.head = nn.Linear(dim, V)
        self.register_buffer('position_numbers', torch.arange(L), persistent=False)

    def check_condition(self, cond: Tensor) -> None:
        assert cond.dtype == torch.int64

    def logits(self, indices_BL: Tensor, cond: Tensor) -> Tensor:
        x_BLD = self.codes(indices_BL) + self.position_embedding(self.position_numbers) + self.classes(cond)[:, None]
        for block in self.blocks:
            x_BLD = block(x_BLD)
        return self.head(x_BLD)

    def loss(self, targets: Targets, cond: Tensor) -> dict[str, Tensor]:
        assert targets.codes is not None
        indices_BL = targets.codes.indices_BL
        masked_BL = torch.rand(indices_BL.shape) < torch.rand(len(indices_BL), 1).clamp(min=0.3)
        dropped_B = torch.where(torch.rand(len(cond)) < 0.1, self.num_classes, cond)
        logits = self.logits(indices_BL.masked_fill(masked_BL, self.layout.vocab_size), dropped_B)
        return {'cross_entropy': F.cross_entropy(logits[masked_BL], indices_BL[masked_BL])}

    @torch.no_grad()
    def sample(
        self,
        cond: Tensor,
        *,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        given: Codes | None = None,
        keep_BL: Tensor | None = None,
        **settings: Any,
    ) -> Codes:
        sampling = self.Sampling.of(settings)
        self.check_given(given, keep_BL, len(cond))
        seeds = new_seeds(len(cond), rng) if seeds is None else check_seeds(seeds, len(cond))
        B, L, V = len(cond), self.layout.length, self.layout.vocab_size
        numbers = uniforms(seeds, 2 * sampling.steps * L).view(B, sampling.steps, 2, L)
        indices_BL = torch.full((B, L), V)
        if given is not None and keep_BL is not None:
            indices_BL = torch.where(keep_BL, given.indices_BL, indices_BL)
        for step in range(sampling.steps):
            hidden_BL = indices_BL == V
            both = torch.cat([cond, torch.full_like(cond, self.num_classes)])
            logits = guide(self.logits(indices_BL.repeat(2, 1), both).flatten(1), sampling.cfg_scale).view(B, L, V)
            drawn_BL = draw(logits.flatten(0, 1), numbers[:, step, 0].flatten()).view(B, L)
            noise_BL = -torch.log(-torch.log(numbers[:, step, 1].clamp(min=1e-9)))
            confidence_BL = logits.log_softmax(-1).gather(-1, drawn_BL[..., None])[..., 0]
            confidence_BL = confidence_BL + sampling.choice_temperature * noise_BL
            ratio = math.cos(math.pi / 2 * (step + 1) / sampling.steps)
            kept = L - (0 if step + 1 == sampling.steps else int(ratio * L))
            confidence_BL = confidence_BL.masked_fill(~hidden_BL, torch.inf)
            shown_BL = torch.zeros_like(hidden_BL).scatter(1, confidence_BL.topk(kept, 1).indices, True)
            indices_BL = torch.where(shown_BL & hidden_BL, drawn_BL, indices_BL)
        return Codes(indices_BL, self.layout)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        return {}
