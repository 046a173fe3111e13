"""A diffusion head (Li et al., 2024, "Autoregressive image generation without vector quantization", section 3.2): the
distribution of a continuous token, given what a transformer says of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.registry.argument_types import check_sizes

from ..layers import AdaLayerNorm, Modulation, TimeEmbedding, init_xavier, modulate
from ..layers.linear import Linear
from .gaussian_process import GaussianProcess
from .samplers import Noise, denoise

EPS = 1e-6
ROWS_AT_ONCE = 512  # tokens times steps whose modulations are computed together


class HeadBlock(nn.Module):
    """`x + gate mlp(modulate(norm(x)))`.

    Args:
        width: Channels W.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, EPS)
        self.inner, self.outer = Linear(width, width), Linear(width, width)
        self.modulation = Modulation(width, 3)

    def forward(self, x_N1W: Tensor, parts_N13W: Tensor) -> Tensor:
        """(N, 1, W), and what the modulation gave, to (N, 1, W)."""
        gate, scale, shift = parts_N13W.unbind(2)
        return x_N1W + gate * self.outer(F.silu(self.inner(modulate(self.norm(x_N1W), scale, shift))))


class DiffusionHead(nn.Module):
    """A small MLP that takes the noise from tokens, each on its own, told what the generator's features are.

    Args:
        channels: Channels C of a token.
        dim: Channels D of the features.
        width: Channels of the MLP.
        depth: Its blocks.
        schedule: See `GaussianProcess`.
        steps: Steps of the process.
        draws: Times and noises of each token in a training step.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        width: int,
        depth: int,
        schedule: str = 'cosine',
        steps: int = 1000,
        draws: int = 4,
    ) -> None:
        super().__init__()
        check_sizes('DiffusionHead', channels=channels, dim=dim, width=width, depth=depth, draws=draws)
        self.process, self.draws = GaussianProcess(schedule, steps), draws
        self.input = nn.Linear(channels, width)
        self.time = TimeEmbedding(width)
        self.condition = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(HeadBlock(width) for _ in range(depth))
        self.norm = AdaLayerNorm(nn.LayerNorm(width, EPS, elementwise_affine=False), Modulation(width, 2))
        self.output = nn.Linear(width, 2 * channels)
        self.apply(init_xavier)
        for module in self.modules():  # these are Linear too, inside
            if isinstance(module, Modulation):
                nn.init.zeros_(module.linear.weight)
        for linear in (self.time.inner, self.time.outer):
            nn.init.normal_(linear.weight, std=0.02)
        nn.init.zeros_(self.output.weight)

    def forward(self, x_NC: Tensor, t_N: Tensor, features_ND: Tensor) -> Tensor:
        """Noisy tokens (N, C), times and features to noise and variance (N, 2C), float32."""
        return self.network(x_NC, self.modulations(self.time(t_N) + self.condition(features_ND)))

    def modulations(self, cond_NW: Tensor) -> list[Tensor]:
        """What each block and the last norm are told: (N, 1, parts, W)."""
        told: Any = (*self.blocks, self.norm)
        return [each.modulation(cond_NW[:, None]) for each in told]

    def network(self, x_NC: Tensor, modulations: Sequence[Tensor]) -> Tensor:
        """`forward` with what `modulations` gave."""
        x_N1W = self.input(x_NC.to(self.input.weight.dtype))[:, None]
        for block, parts in zip(self.blocks, modulations, strict=False):
            x_N1W = block(x_N1W, parts)
        x_N1W = modulate(self.norm.norm(x_N1W), *modulations[-1].unbind(2))
        return self.output(x_N1W)[:, 0].float()

    def modulations_ahead(self, times: Sequence[int], features_ND: Tensor) -> Iterator[list[Tensor]]:
        """`modulations` of each time in turn.

        They depend on no noise, so those of many steps are computed at once: of a few tokens the product is bound by reading
        its weights, which are most of the head's.
        """
        count, N = max(1, ROWS_AT_ONCE // max(1, len(features_ND))), len(features_ND)
        condition_NW = self.condition(features_ND)
        for start in range(0, len(times), count):
            some_S = torch.tensor(times[start : start + count], device=features_ND.device)
            parts = self.modulations((self.time(some_S)[:, None] + condition_NW).flatten(0, 1))
            steps = (each.unflatten(0, (len(some_S), N)).unbind(0) for each in parts)
            yield from map(list, zip(*steps, strict=True))

    def losses(self, x_NC: Tensor, features_ND: Tensor) -> dict[str, Tensor]:
        """`mse` and `vb`, means over tokens and draws; see `GaussianProcess.losses`."""
        x, features = x_NC.repeat(self.draws, 1).float(), features_ND.repeat(self.draws, 1)
        t_N = torch.randint(self.process.steps, (len(x),), device=x.device)
        terms = self.process.losses(lambda noisy, t: self(noisy, t, features), x, t_N, torch.randn_like(x))
        return {name: values_N.mean() for name, values_N in terms.items()}

    def sample(
        self,
        features_ND: Tensor,
        noise: Noise,
        steps: int,
        temperature: float = 1.0,
        without_ND: Tensor | None = None,
        cfg_scale: float = 1.0,
    ) -> Tensor:
        """Draw tokens (N, C).

        Args:
            features_ND: What the generator says of each.
            noise: Called with 0 for what they start from, and with 1, 2, ... for the noise of each step; (N, C).
            steps: Steps of the respaced process.
            temperature: Factor on the noise of the steps.
            without_ND: Features without the condition, for guidance of the predicted noise.
            cfg_scale: Its scale.
        """

        process = self.process.respaced(steps)
        rows = features_ND if without_ND is None else torch.cat([features_ND, without_ND])
        ahead = self.modulations_ahead(process.times[::-1], rows)

        def predict(x_NC: Tensor, _: Tensor) -> Tensor:
            if without_ND is None:
                return self.network(x_NC, next(ahead))
            both = self.network(x_NC.repeat(2, 1), next(ahead))
            (predicted, variance), (other, _) = (half.chunk(2, dim=1) for half in both.chunk(2))
            return torch.cat([other + cfg_scale * (predicted - other), variance], 1)

        chain = denoise(process, predict, noise(0), lambda number: noise(number + 1), temperature=temperature)
        return deque(chain, maxlen=1).pop()[0]
