"""What diffusion models of an image's latent share: the loss, guidance and the way from noise to a sample."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fvq_core.codes import Grid, LatentLayout, Latents, Targets
from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.sampling_settings import setting

from .checks import images_to_draw, latents_of, latents_to_learn
from .diffusion import flow_matching, samplers
from .diffusion.gaussian_process import GaussianProcess
from .eval_mode import eval_mode
from .layers import Classes
from .out_of_memory import memory_advice
from .sampling import Guidance
from .streams import Streams

STEPS = 250  # of the published FIDs
SOLVERS = ('auto', *samplers.SOLVERS, *flow_matching.SOLVERS)


class LatentDiffusion(Generator):
    """A class-conditional diffusion or flow-matching model of latents; a subclass has the network.

    Args:
        layout: `LatentLayout` of a `Grid`, or its description.
        objective: `'diffusion'`, with a `GaussianProcess`; or `'flow'`, the velocity of `flow_matching` (SiT).
        schedule, steps, learned_variance: The process, see `GaussianProcess`; of no use to a flow.

    Attributes:
        condition: Its classes, and which of them training drops.
        head: The last map of the network.
        out_channels: Channels of the network's output.
    """

    position_kinds = (Grid,)
    condition: Classes
    head: nn.Linear
    layout: LatentLayout  # pyrefly: ignore[bad-override]

    @dataclass(frozen=True)
    class Sampling(Guidance):
        """Guidance, on all channels or on the first, steps and the solver."""

        cfg_channels: int = setting(0, 'guide the first N channels only, as DiT does with 3; 0 guides all', least=0)
        steps: int = setting(
            0, f'steps from noise to an image; 0 is {STEPS}, or those of training if they are fewer', least=1, also=(0,)
        )
        solver: str = setting('auto', 'how to go from noise to an image; auto is ddpm, for flows heun', choices=SOLVERS)
        eta: float = setting(0.0, 'share of the noise that DDIM adds in its steps', least=0, most=1)

    def __init__(
        self,
        layout: LatentLayout | Mapping[str, Any],
        objective: Literal['diffusion', 'flow'] = 'diffusion',
        schedule: str = 'linear',
        steps: int = 1000,
        learned_variance: bool = True,
    ) -> None:
        super().__init__()
        self.layout = latents_of(self, layout)
        if objective not in ('diffusion', 'flow'):
            raise UserError(f"{type(self).__name__}: objective is 'diffusion' or 'flow', got {objective!r}.")
        variance = learned_variance and objective == 'diffusion'
        self.process = None if objective == 'flow' else GaussianProcess(schedule, steps, 'noise', variance)
        self.out_channels = self.layout.channels * (1 + variance)

    @property
    def num_classes(self) -> int:  # pyrefly: ignore[bad-override]
        return self.condition.num_classes

    def network(self, x_BDHW: Tensor, t_B: Tensor, labels_B: Tensor) -> Tensor:
        """Noisy latents, times and classes to (B, out_channels, H, W); drops classes in training."""
        raise NotImplementedError

    def check_condition(self, cond: Tensor) -> None:
        self.condition.check(cond)

    def loss(self, targets: Targets, cond: Tensor) -> dict[str, Tensor]:
        """`mse` of the prediction and, with a learned variance, `vb`; see `GaussianProcess.losses` and `flow_losses`.

        Args:
            targets: Latents; each image gets a time and noise of its own.
            cond: Classes (B,).

        Raises:
            UserError: No latents, latents of another layout, or classes that it does not have.
        """
        x = latents_to_learn(self, targets, cond).normalized().float()

        def predict(noisy: Tensor, t_B: Tensor) -> Tensor:
            return self.network(noisy, t_B, cond).float()

        noise = torch.randn_like(x)
        if self.process is None:
            terms = flow_matching.flow_losses(predict, x, torch.rand(len(x), device=x.device), noise)
        else:
            t_B = torch.randint(self.process.steps, (len(x),), device=x.device)
            terms = self.process.losses(predict, x, t_B, noise)
        return {name: values_B.mean() for name, values_B in terms.items()}

    def guided(self, x: Tensor, t_B: Tensor, cond: Tensor, sampling: Sampling) -> Tensor:
        """The network's output, guided on its first channels; the others, and the variance, are the conditional ones."""
        if not sampling.active:
            return self.network(x, t_B, cond).float()
        both = self.network(x.repeat(2, 1, 1, 1), t_B.repeat(2), torch.cat([cond, self.condition.null(cond)])).float()
        with_class, without = both.chunk(2)
        C = sampling.cfg_channels or self.layout.channels
        first = without[:, :C] + sampling.cfg_scale * (with_class[:, :C] - without[:, :C])
        return torch.cat([first, with_class[:, C:]], 1)

    @torch.no_grad()
    def trajectory(
        self, x: Tensor, cond: Tensor, noise: samplers.Noise, sampling: Sampling
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The normalized latents after each step from noise x, and what they are about to become; see `denoise`."""

        def predict(x: Tensor, t_B: Tensor) -> Tensor:
            return self.guided(x, t_B, cond, sampling)

        if self.process is None:
            solver = 'heun' if sampling.solver == 'auto' else sampling.solver
            return flow_matching.follow(predict, x, sampling.steps, solver)
        solver = 'ddpm' if sampling.solver == 'auto' else sampling.solver
        return samplers.denoise(self.process.respaced(sampling.steps), predict, x, noise, solver, sampling.eta)

    @torch.no_grad()
    def sample(  # pyrefly: ignore[bad-override]
        self,
        cond: Tensor,
        *,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        **settings: Any,
    ) -> Latents:
        """Draw latents for each class; see `Generator.sample`.

        Raises:
            UserError: Classes that it does not have, settings out of range, more steps than the process has, or a solver of
                the other objective.
        """
        sampling = self.Sampling.of(settings)
        most = STEPS if self.process is None else min(STEPS, self.process.steps)
        sampling = replace(sampling, steps=sampling.steps or most)
        self.check_sampling(sampling)
        cond, seeds = images_to_draw(self, cond, rng, seeds, sampling.cfg_scale, self.condition.drop_rate)
        streams = Streams(seeds, cond.device)

        def noise(_: int = 0) -> Tensor:
            return streams.normal(*self.layout.shape)

        with eval_mode(self), memory_advice(len(cond), cond.device):
            x, _ = deque(self.trajectory(noise(), cond, noise, sampling), maxlen=1).pop()
        return Latents(self.layout.denormalize(x), self.layout)

    def check_sampling(self, sampling: Sampling) -> None:
        """Raise unless this model can be sampled so."""
        name, flow = type(self).__name__, self.process is None
        own = flow_matching.SOLVERS if flow else samplers.SOLVERS
        if sampling.solver not in ('auto', *own):
            trained = 'a flow' if flow else 'a diffusion process'
            raise UserError(
                f"{name}: was trained as {trained}, got solver '{sampling.solver}'; use {' or '.join(own)}."
            )
        if sampling.cfg_channels > self.layout.channels:
            raise UserError(
                f'{name}: cfg_channels {sampling.cfg_channels} of latents with {self.layout.channels} channels; 0 guides all.'
            )
        if self.process is not None:
            self.process.respaced(sampling.steps)
