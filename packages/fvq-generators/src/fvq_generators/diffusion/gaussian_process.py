"""The Gaussian diffusion process of DiT, L-DiT, MAR and ADM (Ho et al., 2020; Nichol and Dhariwal, 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fvq_core.errors import UserError

from .likelihood import gaussian_kl, image_log_likelihood
from .noise_schedules import betas, kept_steps, strided_steps

Predict = Callable[[Tensor, Tensor], Tensor]
PREDICTIONS = ('noise', 'data')


class GaussianProcess:
    """Adds noise step by step, and takes it away with what a network predicts.

    Its tables are float64: a product of 1,000 float32 numbers is off by 1e-5 where the cosine schedule ends.

    Args:
        schedule: A name of `noise_schedules.SCHEDULES`.
        steps: Steps T of the process.
        predicts: What the network predicts, `'noise'` or `'data'`.
        learned_variance: Whether half of the network's outputs say where, between the two bounds of Nichol and Dhariwal
            (2021, equation 15), the variance of a step lies; else it is the posterior's.
    """

    def __init__(
        self, schedule: str = 'linear', steps: int = 1000, predicts: str = 'noise', learned_variance: bool = True
    ) -> None:
        if predicts not in PREDICTIONS:
            raise UserError(f"diffusion: predicts is 'noise' or 'data', got {predicts!r}.")
        self.schedule, self.steps, self.predicts, self.learned_variance = schedule, steps, predicts, learned_variance
        self._set(betas(schedule, steps), list(range(steps)))

    def _set(self, beta_T: Tensor, times: list[int], start: float = 1.0) -> None:
        """Tables of a process with these variances, whose steps are these of the one that the network knows. `start` is the
        share of the signal before the first."""
        self.beta_T, self.times = beta_T, times
        signal_T = start * (1 - beta_T).cumprod(0)
        before_T = torch.cat([torch.full_like(signal_T[:1], start), signal_T[:-1]])
        self.signal_T, self.before_T = signal_T, before_T
        self.variance_T = beta_T * (1 - before_T) / (1 - signal_T)
        # The first step's is 0 unless a process starts later; its logarithm is that of the second, if there is one.
        first = self.variance_T[1:2] if len(times) > 1 else self.variance_T
        self.log_variance_T = torch.cat([first, self.variance_T[1:]]).log()
        self.data_weight_T = beta_T * before_T.sqrt() / (1 - signal_T)
        self.noisy_weight_T = (1 - before_T) * (1 - beta_T).sqrt() / (1 - signal_T)

    def respaced(self, count: int) -> GaussianProcess:
        """The process that visits `count` of the steps, evenly spread; the network sees their original times."""
        return self._visiting(kept_steps(self.steps, count), 1.0)

    def strided(self, count: int) -> GaussianProcess:
        """As `respaced`, with the steps of latent diffusion's DDIM, which leaves the noise of the very first in the data."""
        return self._visiting(strided_steps(self.steps, count), self.signal_T[0].item())

    def _visiting(self, times: list[int], start: float) -> GaussianProcess:
        fewer = GaussianProcess(self.schedule, self.steps, self.predicts, self.learned_variance)
        signal_T = self.signal_T[times]
        fewer._set(1 - signal_T / torch.cat([torch.full_like(signal_T[:1], start), signal_T[:-1]]), times, start)
        return fewer

    def at(self, table_T: Tensor, t_B: Tensor, like: Tensor) -> Tensor:
        """Entries of a table at steps (B,), in float32 and ready to be multiplied with a tensor (B, ...)."""
        values_B = table_T.to(t_B.device)[t_B].float()
        return values_B.view(-1, *[1] * (like.dim() - 1))

    def noisy(self, x: Tensor, t_B: Tensor, noise: Tensor) -> Tensor:
        """Data (B, ...) after steps (B,) of noise."""
        return self.at(self.signal_T.sqrt(), t_B, x) * x + self.at((1 - self.signal_T).sqrt(), t_B, x) * noise

    def data_of(self, noisy: Tensor, t_B: Tensor, predicted: Tensor) -> Tensor:
        """What the network takes the data to be."""
        if self.predicts == 'data':
            return predicted
        return (
            self.at(self.signal_T.rsqrt(), t_B, noisy) * noisy
            - self.at((1 / self.signal_T - 1).sqrt(), t_B, noisy) * predicted
        )

    def noise_of(self, noisy: Tensor, t_B: Tensor, data: Tensor) -> Tensor:
        """The noise that data would have received."""
        wanted = self.at(self.signal_T.rsqrt(), t_B, noisy) * noisy - data
        return wanted / self.at((1 / self.signal_T - 1).sqrt(), t_B, noisy)

    def mean(self, data: Tensor, noisy: Tensor, t_B: Tensor) -> Tensor:
        """Mean of the step before, given the data."""
        return self.at(self.data_weight_T, t_B, data) * data + self.at(self.noisy_weight_T, t_B, data) * noisy

    def split(self, output: Tensor, t_B: Tensor) -> tuple[Tensor, Tensor]:
        """Prediction (B, C, ...) and log variance of an output of the network: (B, 2C, ...) if variance is learned."""
        if not self.learned_variance:
            return output, self.at(self.log_variance_T, t_B, output)
        predicted, between = output.chunk(2, dim=1)
        low, high = self.at(self.log_variance_T, t_B, output), self.at(self.beta_T.log(), t_B, output)
        share = (between + 1) / 2
        return predicted, share * high + (1 - share) * low

    def losses(self, predict: Predict, x: Tensor, t_B: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Loss terms of each sample (B,): `mse` of the prediction and, if variance is learned, `vb`, the variational bound in
        bits a dimension, which teaches it and leaves the prediction alone (the improved-DDPM loss, as DiT adds them up).

        Args:
            predict: The network, called with noisy data and times (B,).
            x: Data (B, C, ...), of about unit variance.
            t_B: Steps, int64.
            noise: Standard normal, as x.
        """
        noisy = self.noisy(x, t_B, noise)
        output = predict(noisy, t_B)
        predicted, log_variance = self.split(output, t_B)
        wanted = noise if self.predicts == 'noise' else x
        terms = {'mse': (predicted - wanted).square().flatten(1).mean(1)}
        if self.learned_variance:
            mean = self.mean(self.data_of(noisy, t_B, predicted.detach()), noisy, t_B)
            true_mean, true_log = self.mean(x, noisy, t_B), self.at(self.log_variance_T, t_B, x)
            kl = gaussian_kl(true_mean, true_log, mean, log_variance).flatten(1).mean(1)
            # Of 8-bit images, on latents too: so DiT and MAR were trained.
            first = -image_log_likelihood(x, mean, log_variance / 2).flatten(1).mean(1)
            terms['vb'] = torch.where(t_B == 0, first, kl) / math.log(2)
        return terms
