"""A small flow-matching model of continuous latents, as a DiT is trained: it has no codes at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fvq_core.codes import Grid, LatentLayout, Latents, Targets
from fvq_core.generator import Generator
from fvq_core.registry import GENERATORS
from fvq_core.sampling_settings import setting
from fvq_generators.codes_store.layouts import any_layout_from_dict
from fvq_generators.sampling import Guidance, check_seeds, guide, new_seeds


@GENERATORS.register_module()
class TinyFlow(Generator):
    """Predicts the velocity from noise to latents (Lipman et al., 2023), by convolutions."""

    @dataclass(frozen=True)
    class Sampling(Guidance):
        steps: int = setting(8, 'Euler steps from noise to latents', least=1)

    position_kinds = (Grid,)

    def __init__(self, layout: Mapping[str, Any], dim: int = 32, num_classes: int = 5) -> None:
        super().__init__()
        found = any_layout_from_dict(layout)
        assert isinstance(found, LatentLayout)
        self.layout: LatentLayout = found  # pyrefly: ignore[bad-override]
        self.check_layout(found)
        self.num_classes = num_classes
        D = found.channels
        self.classes = nn.Embedding(num_classes + 1, D)  # the last is none
        self.net = nn.Sequential(nn.Conv2d(2 * D + 1, dim, 3, padding=1), nn.SiLU(), nn.Conv2d(dim, D, 3, padding=1))

    def check_condition(self, cond: Tensor) -> None:
        assert cond.dtype == torch.int64

    def velocity(self, x_BDHW: Tensor, t_B: Tensor, cond: Tensor) -> Tensor:
        height, width = x_BDHW.shape[2:]
        extra = torch.cat([self.classes(cond), t_B[:, None]], 1)[..., None, None].expand(-1, -1, height, width)
        return self.net(torch.cat([x_BDHW, extra], 1))

    def loss(self, targets: Targets, cond: Tensor) -> dict[str, Tensor]:
        assert targets.latents is not None
        x_BDHW = targets.latents.normalized()
        noise, t_B = torch.randn_like(x_BDHW), torch.rand(len(x_BDHW))
        t = t_B[:, None, None, None]
        cond = torch.where(torch.rand(len(cond)) < 0.1, self.num_classes, cond)
        error = self.velocity((1 - t) * noise + t * x_BDHW, t_B, cond) - (x_BDHW - noise)
        return {'mse': error.square().mean()}

    @torch.no_grad()
    def sample(
        self,
        cond: Tensor,
        *,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        **settings: Any,
    ) -> Latents:
        sampling = self.Sampling.of(settings)
        seeds = new_seeds(len(cond), rng) if seeds is None else check_seeds(seeds, len(cond))
        noise = [torch.randn(self.layout.shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        x_BDHW = torch.stack(noise) if noise else torch.zeros(0, *self.layout.shape)
        both = torch.cat([cond, torch.full_like(cond, self.num_classes)])
        for step in range(sampling.steps):
            t_B = torch.full((2 * len(cond),), step / sampling.steps)
            v = guide(self.velocity(x_BDHW.repeat(2, 1, 1, 1), t_B, both), sampling.cfg_scale)
            x_BDHW = x_BDHW + v / sampling.steps
        return Latents(self.layout.denormalize(x_BDHW), self.layout)
