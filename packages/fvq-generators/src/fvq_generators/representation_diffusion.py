"""Diffusion of an image's representation, a vector of a frozen encoder (RCG: Li et al., 2024, "Return of unconditional
generation", section 3.2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import LatentLayout, Latents, Targets
from fvq_core.codes import Sequence as CodeSequence
from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes
from fvq_core.sampling_settings import SamplingSettings, setting

from .checks import images_to_draw, latents_of, latents_to_learn
from .diffusion.gaussian_process import GaussianProcess
from .diffusion.samplers import Noise, denoise
from .eval_mode import eval_mode
from .layers import ClassEmbedding, TimeEmbedding, Unconditional
from .out_of_memory import memory_advice
from .streams import Streams

STEPS = 250  # of the published FIDs
FLATTEST = 1e-6  # standard deviation of a vector that says nothing


def standardized(features_BC: Tensor) -> Tensor:
    """Vectors (B, C) with mean 0 and unbiased standard deviation 1 over their own channels, as RCG models them."""
    centred_BC = features_BC - features_BC.mean(1, keepdim=True)
    return centred_BC / features_BC.std(1, keepdim=True).clamp(min=FLATTEST)


class RepresentationBlock(nn.Module):
    """A residual bottleneck that hears of time, and of the class if there is one.

    Args:
        dim: Channels D.
        width: Channels W of the bottleneck.
        time_dim: Channels of the time.
        class_dim: Channels of the class; None without classes.
    """

    def __init__(self, dim: int, width: int, time_dim: int, class_dim: int | None = None) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.inner = nn.Linear(dim, width)
        self.time = nn.Linear(time_dim, width)
        self.condition = None if class_dim is None else nn.Linear(class_dim, width)
        self.outer_norm = nn.LayerNorm(width)
        self.outer = nn.Linear(width, dim)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x_BD: Tensor, time: Tensor, class_: Tensor | None = None) -> Tensor:
        """(B, D), time and class (B, ...) to (B, D)."""
        hidden_BW = self.inner(F.silu(self.norm(x_BD))) + self.time(F.silu(time))
        if self.condition is not None and class_ is not None:
            hidden_BW = hidden_BW + self.condition(F.silu(class_))
        return x_BD + self.outer(F.silu(self.outer_norm(hidden_BW)))


@GENERATORS.register_module()
class RepresentationDiffusion(Generator):
    """A small MLP that takes the noise from representations, of classes or of all images alike.

    Representations are latents of one position. They are standardized before they are learned, and those that are drawn are
    about so. RCG's has 62.7 M parameters, with classes 72.7 M.

    Args:
        layout: `LatentLayout` of a `Sequence` of length 1, or `dict(type='Sequence', length=1, channels=256)`.
        dim: Channels D.
        width: Channels of the blocks' bottleneck.
        depth: Blocks.
        time_dim: Channels of the time.
        num_classes: Classes; None for a model that looks at none.
        class_dim: Channels of the class.
        schedule, steps: See `GaussianProcess`; the network predicts the data.

    Raises:
        UserError: A layout that it cannot model, or sizes that are none.
    """

    position_kinds = (CodeSequence,)
    layout: LatentLayout  # pyrefly: ignore[bad-override]

    @dataclass(frozen=True)
    class Sampling(SamplingSettings):
        """Steps of DDIM and its noise."""

        steps: int = setting(0, f'sampling steps; 0: {STEPS}, or those of training if fewer', least=1, also=(0,))
        eta: float = setting(1.0, 'eta of DDIM: 0 deterministic, 1 adds as much noise as DDPM', least=0, most=1)

    def __init__(
        self,
        layout: LatentLayout | Mapping[str, Any],
        dim: int = 1536,
        width: int = 1536,
        depth: int = 12,
        time_dim: int = 256,
        num_classes: int | None = 1000,
        class_dim: int = 512,
        schedule: str = 'sqrt_linear',
        steps: int = 1000,
    ) -> None:
        super().__init__()
        self.layout = latents_of(self, layout)
        if self.layout.positions.length != 1:
            raise UserError(
                f'RepresentationDiffusion: models one vector an image, got {self.layout.positions}; use length=1.'
            )
        check_sizes('RepresentationDiffusion', dim=dim, width=width, depth=depth, time_dim=time_dim)
        self.process = GaussianProcess(schedule, steps, 'data', learned_variance=False)
        if num_classes is None:
            self.condition: Unconditional | ClassEmbedding = Unconditional()
        else:
            check_sizes('RepresentationDiffusion', num_classes=num_classes, class_dim=class_dim)
            self.condition = ClassEmbedding(num_classes, class_dim, 0.0)
        context = None if num_classes is None else class_dim
        self.input = nn.Linear(self.layout.channels, dim)
        self.time = TimeEmbedding(time_dim, dim)
        self.blocks = nn.ModuleList(RepresentationBlock(dim, width, time_dim, context) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, 1e-6)
        self.output = nn.Linear(dim, self.layout.channels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    @property
    def num_classes(self) -> int:  # pyrefly: ignore[bad-override]
        return self.condition.num_classes

    def check_condition(self, cond: Tensor) -> None:
        self.condition.check(cond)

    def network(self, x_BC: Tensor, t_B: Tensor, labels_B: Tensor) -> Tensor:
        """What noisy representations (B, C) were, at times and of classes (B,): float32 (B, C)."""
        time = self.time(t_B)
        class_ = self.condition(labels_B)[:, 0] if isinstance(self.condition, ClassEmbedding) else None
        x_BD = self.input(x_BC.to(self.input.weight.dtype))
        for block in self.blocks:
            x_BD = block(x_BD, time, class_)
        return self.output(F.silu(self.norm(x_BD))).float()

    def loss(  # pyrefly: ignore[bad-override]
        self, targets: Targets, cond: Tensor, valid_B: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`mse` of the predicted representation.

        Args:
            targets: Latents; each image gets a time and noise of its own.
            cond: Classes (B,).
            valid_B: Weight of each image.

        Raises:
            UserError: No latents, latents of another layout, or classes that it does not have.
        """
        x_BC = standardized(latents_to_learn(self, targets, cond).normalized().float()[..., 0])
        t_B = torch.randint(self.process.steps, (len(x_BC),), device=x_BC.device)
        terms = self.process.losses(lambda x, t: self.network(x, t, cond), x_BC, t_B, torch.randn_like(x_BC))
        weights_B = torch.ones_like(terms['mse']) if valid_B is None else valid_B.float()
        return {'mse': (terms['mse'] * weights_B).sum() / weights_B.sum().clamp(min=1.0)}

    @torch.no_grad()
    def sample(  # pyrefly: ignore[bad-override]
        self,
        cond: Tensor,
        *,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        **settings: Any,
    ) -> Latents:
        """Draw representations for each class; see `Generator.sample`.

        Raises:
            UserError: Classes that it does not have, settings out of range, or more steps than the process has.
        """
        sampling = self.Sampling.of(settings)
        sampling = replace(sampling, steps=sampling.steps or min(STEPS, self.process.steps))
        self.process.strided(sampling.steps)
        cond, seeds = images_to_draw(self, cond, rng, seeds)
        streams = Streams(seeds, cond.device)

        def noise(_: int = 0) -> Tensor:
            return streams.normal(self.layout.channels)

        with eval_mode(self), memory_advice(len(cond), cond.device):
            x_BC = self.draw(noise(), cond, noise, sampling)
        return Latents(self.layout.denormalize(x_BC[..., None]), self.layout)

    def draw(self, x_BC: Tensor, cond: Tensor, noise: Noise, sampling: Sampling) -> Tensor:
        """Representations (B, C) from noise; see `denoise`."""
        process = self.process.strided(sampling.steps)
        states = denoise(process, lambda x, t: self.network(x, t, cond), x_BC, noise, 'ddim', sampling.eta)
        return deque(states, maxlen=1).pop()[0]

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """One block of 32 channels, 20 steps; representations as long as before."""
        return dict(dim=32, width=32, depth=1, time_dim=16, class_dim=16, steps=20)
