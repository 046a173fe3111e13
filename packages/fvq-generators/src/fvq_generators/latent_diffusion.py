"""What diffusion models of an image's latent share: the loss, guidance and the way from noise to a sample."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from fvq_core.codes import Grid, LatentLayout, Latents, Targets
from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.sampling_settings import setting

from .checks import images_to_draw, latents_of, latents_to_learn
from .diffusion import flow_matching, samplers
from .diffusion.gaussian_process import GaussianProcess
from .diffusion.noise_schedules import check_count
from .eval_mode import eval_mode
from .layers import Classes
from .out_of_memory import memory_advice
from .sampling import Guidance
from .streams import Streams

STEPS = 250  # of the published FIDs
SPACINGS = ('even', 'strided')
SOLVERS = ('auto', *samplers.SOLVERS, *flow_matching.SOLVERS)


class LatentDiffusion(Generator):
    """A class-conditional diffusion or flow-matching model of latents; a subclass has the network.

    Args:
        layout: `LatentLayout` of a `Grid`, or its description.
        objective: `'diffusion'`, with a `GaussianProcess`; or `'flow'`, the velocity of `flow_matching` (SiT).
        schedule, steps, learned_variance: The process, see `GaussianProcess`; of no use to a flow.
        clip: Whether sampling clips the network's idea of the data to [-1, 1] at each step, as ADM does with pixels; not of
            a flow.

    Attributes:
        condition: Its classes, and which of them training drops.
        out_channels: Channels of the network's output.
    """

    position_kinds = (Grid,)
    condition: Classes
    layout: LatentLayout  # pyrefly: ignore[bad-override]

    @dataclass(frozen=True)
    class Sampling(Guidance):
        """Guidance, on all channels or on the first, steps and the solver."""

        cfg_channels: int = setting(0, 'guide only the first N channels, as DiT does with 3; 0: all', least=0)
        steps: int = setting(0, f'sampling steps; 0: {STEPS}, or those of training if fewer', least=1, also=(0,))
        solver: str = setting('auto', 'sampler; auto: ddpm, for flows heun', choices=SOLVERS)
        eta: float = setting(0.0, 'eta of DDIM: 0 deterministic, 1 adds as much noise as DDPM', least=0, most=1)
        spacing: str = setting(
            'even',
            'training steps to visit: even from the first to the last, or strided from the second on, as in '
            "latent diffusion's DDIM, which leaves the noise of the first",
            choices=SPACINGS,
        )

    def __init__(
        self,
        layout: LatentLayout | Mapping[str, Any],
        objective: Literal['diffusion', 'flow'] = 'diffusion',
        schedule: str = 'linear',
        steps: int = 1000,
        learned_variance: bool = True,
        clip: bool = False,
    ) -> None:
        super().__init__()
        self.layout, self.clip = latents_of(self, layout), clip
        if objective not in ('diffusion', 'flow'):
            raise UserError(f"{type(self).__name__}: objective is 'diffusion' or 'flow', got {objective!r}.")
        if clip and objective == 'flow':
            raise UserError(f"{type(self).__name__}: a flow is not clipped; drop clip, or use objective='diffusion'.")
        variance = learned_variance and objective == 'diffusion'
        self.process = None if objective == 'flow' else GaussianProcess(schedule, steps, 'noise', variance)
        self.out_channels = self.layout.channels * (1 + variance)

    @property
    def num_classes(self) -> int:  # pyrefly: ignore[bad-override]
        return self.condition.num_classes

    def network(self, x_BDHW: Tensor, t_B: Tensor, labels_B: Tensor, *given: Tensor) -> Tensor:
        """Noisy latents, times and classes to (B, out_channels, H, W); drops classes in training.

        `given` is what else a model is told of each sample (B, ...), such as a smaller image.
        """
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
        return self.losses(latents_to_learn(self, targets, cond).normalized().float(), cond)

    def losses(self, x: Tensor, cond: Tensor, *given: Tensor) -> dict[str, Tensor]:
        """`loss` of normalized latents (B, D, H, W); see `network` for `given`."""

        def predict(noisy: Tensor, t_B: Tensor) -> Tensor:
            return self.network(noisy, t_B, cond, *given).float()

        noise = torch.randn_like(x)
        if self.process is None:
            terms = flow_matching.flow_losses(predict, x, torch.rand(len(x), device=x.device), noise)
        else:
            t_B = torch.randint(self.process.steps, (len(x),), device=x.device)
            terms = self.process.losses(predict, x, t_B, noise)
        return {name: values_B.mean() for name, values_B in terms.items()}

    def guided(self, x: Tensor, t_B: Tensor, cond: Tensor, sampling: Sampling, *given: Tensor) -> Tensor:
        """The network's output, guided on its first channels; the others, and the variance, are the conditional ones."""
        if not sampling.active:
            return self.network(x, t_B, cond, *given).float()
        labels_B = torch.cat([cond, self.condition.null(cond)])
        twice = [torch.cat([each, each]) for each in (x, t_B, *given)]
        both = self.network(*twice[:2], labels_B, *twice[2:]).float()
        with_class, without = both.chunk(2)
        C = sampling.cfg_channels or self.layout.channels
        first = without[:, :C] + sampling.cfg_scale * (with_class[:, :C] - without[:, :C])
        return torch.cat([first, with_class[:, C:]], 1)

    @torch.no_grad()
    def trajectory(
        self, x: Tensor, cond: Tensor, noise: samplers.Noise, sampling: Sampling, *given: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The normalized latents after each step from noise x, and what they are about to become; see `denoise`."""

        def predict(x: Tensor, t_B: Tensor) -> Tensor:
            return self.guided(x, t_B, cond, sampling, *given)

        if self.process is None:
            solver = 'heun' if sampling.solver == 'auto' else sampling.solver
            return flow_matching.follow(predict, x, sampling.steps, solver)
        solver = 'ddpm' if sampling.solver == 'auto' else sampling.solver
        visiting = self.process.strided if sampling.spacing == 'strided' else self.process.respaced
        process = visiting(sampling.steps)
        return samplers.denoise(process, predict, x, noise, solver, sampling.eta, clip=self.clip)

    def draw(self, cond: Tensor, seeds: Sequence[int], sampling: Sampling, *given: Tensor) -> Tensor:
        """Normalized latents of classes (B,), each from its seed; see `network` for `given`."""
        streams = Streams(seeds, cond.device)

        def noise(_: int = 0) -> Tensor:
            return streams.normal(*self.layout.shape)

        return deque(self.trajectory(noise(), cond, noise, sampling, *given), maxlen=1).pop()[0]

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
        sampling = self.checked_sampling(settings)
        cond, seeds = images_to_draw(self, cond, rng, seeds, sampling.cfg_scale, self.condition.drop_rate)
        with eval_mode(self), memory_advice(len(cond), cond.device):
            x = self.draw(cond, seeds, sampling)
        return Latents(self.layout.denormalize(x), self.layout)

    def checked_sampling(self, settings: Mapping[str, Any]) -> Sampling:
        """Settings, with the steps that they leave open; raises unless this model can be sampled so."""
        sampling, name, flow = self.Sampling.of(settings), type(self).__name__, self.process is None
        most = STEPS if self.process is None else min(STEPS, self.process.steps)
        sampling = replace(sampling, steps=sampling.steps or most)
        own = flow_matching.SOLVERS if flow else samplers.SOLVERS
        if sampling.solver not in ('auto', *own):
            trained = 'a flow' if flow else 'a diffusion process'
            raise UserError(
                f"{name}: was trained as {trained}, got solver '{sampling.solver}'; use {' or '.join(own)}."
            )
        if sampling.eta and sampling.solver != 'ddim':
            raise UserError(
                f"{name}: eta {sampling.eta:g} is the noise of DDIM's steps; add solver 'ddim', or drop it."
            )
        if sampling.cfg_channels > self.layout.channels:
            raise UserError(
                f'{name}: cfg_channels {sampling.cfg_channels} of latents with {self.layout.channels} channels; 0 guides all.'
            )
        if self.process is not None:
            check_count(self.process.steps, sampling.steps)
        elif sampling.spacing != 'even':
            raise UserError(f"{name}: was trained as a flow, whose steps are equal; use spacing 'even'.")
        return sampling
