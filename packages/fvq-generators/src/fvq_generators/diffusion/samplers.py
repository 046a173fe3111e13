"""From noise to data with a trained network: DDPM, DDIM and DPM-Solver++."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .gaussian_process import GaussianProcess, Predict

# Noise of a step, counted from 0 at the first; as the data (B, C, ...).
Noise = Callable[[int], Tensor]
SOLVERS = ('ddpm', 'ddim', 'dpm++')


def denoise(
    process: GaussianProcess,
    predict: Predict,
    x: Tensor,
    noise: Noise,
    solver: str = 'ddpm',
    eta: float = 0.0,
    temperature: float = 1.0,
    clip: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through a process from its last step to its first; yields the data so far and the network's idea of the result.

    Args:
        process: Respaced to as many steps as are wanted.
        predict: The network, called with noisy data and their original times (B,).
        x: Noise to start from (B, C, ...).
        noise: Noise of each step; DDIM without eta and DPM-Solver++ need none.
        solver: `'ddpm'` draws from the posterior (Ho et al., 2020), `'ddim'` from the process of Song et al. (2021), and
            `'dpm++'` is the two-step multistep solver of Lu et al. (2022), which needs the fewest steps.
        eta: DDIM's share of the posterior's noise.
        temperature: Factor on the noise of the steps, not on what they start from.
        clip: Whether the network's idea of the data is clipped to [-1, 1], as for pixels.
    """
    previous: tuple[Tensor, float] | None = None
    for number, index in enumerate(reversed(range(len(process.times)))):
        t_B = torch.full((len(x),), index, device=x.device)
        noisy = process.before_T[index] < 1  # what the step leads to
        output = predict(x, torch.full_like(t_B, process.times[index]))
        predicted, log_variance = process.split(output, t_B)
        data = process.data_of(x, t_B, predicted)
        if clip:
            data = data.clamp(-1.0, 1.0)
        if solver == 'dpm++':
            x, previous = dpm_step(process, x, data, index, previous)
        elif solver == 'ddim':
            x = ddim_step(process, x, data, index, noise(number) if noisy and eta else None, eta * temperature)
        else:
            x = ddpm_step(process, x, data, log_variance, index, noise(number) if noisy else None, temperature)
        yield x, data


def ddpm_step(
    process: GaussianProcess,
    x: Tensor,
    data: Tensor,
    log_variance: Tensor,
    index: int,
    noise: Tensor | None,
    temperature: float = 1.0,
) -> Tensor:
    """A draw from the step before (Ho et al., 2020, algorithm 2), with the variance that the network's output tells."""
    mean = process.mean(data, x, torch.full((len(x),), index, device=x.device))
    return mean if noise is None else mean + temperature * torch.exp(0.5 * log_variance) * noise


def ddim_step(
    process: GaussianProcess, x: Tensor, data: Tensor, index: int, noise: Tensor | None, eta: float
) -> Tensor:
    """One step of DDIM (Song et al., 2021, equation 12)."""
    t_B = torch.full((len(x),), index, device=x.device)
    signal, before = process.signal_T[index], process.before_T[index]
    sigma = eta * ((1 - before) / (1 - signal)).sqrt() * (1 - signal / before).sqrt()
    x = before.sqrt().item() * data + (1 - before - sigma**2).sqrt().item() * process.noise_of(x, t_B, data)
    return x if noise is None else x + sigma.item() * noise


def dpm_step(
    process: GaussianProcess, x: Tensor, data: Tensor, index: int, previous: tuple[Tensor, float] | None
) -> tuple[Tensor, tuple[Tensor, float]]:
    """One step of DPM-Solver++ (2M) on the data prediction (Lu et al., 2022, algorithm 2), and what the next one needs."""
    signal, before = process.signal_T[index], process.before_T[index]
    here = (0.5 * (signal / (1 - signal)).log()).item()
    if index == 0:  # no noise is left: the exact end of the equation
        return data, (data, here)
    there = (0.5 * (before / (1 - before)).log()).item()
    width = there - here
    estimate = data
    if previous is not None and index > 1:  # the last step is long, so that extrapolation would overshoot
        last, was = previous
        estimate = data + (data - last) * (width / (2 * (here - was)))
    ratio = ((1 - before) / (1 - signal)).sqrt().item()
    x = ratio * x - before.sqrt().item() * torch.expm1(torch.tensor(-width, dtype=torch.float64)).item() * estimate
    return x, (data, here)
