"""Codes replaced by near ones at random, as those of a generator that errs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UserError
from .full_precision import full_precision

MAX_SCORES = 2**24  # of one chunk: 64 MiB


@dataclass(frozen=True)
class LatentPerturbation:
    """Each code gives way with some probability to one of those nearest to its latent (Qiu et al., 2025, arXiv 2503.08354).

    The paper speaks of the codes nearest to the chosen code, its training code (`ImageFolder`) takes those nearest to the
    latent; this is the latter. The chosen code is one of them.

    Args:
        rate: Probability of each position, alpha there; in [0, 1].
        nearest: Number of codes to draw from, delta there; at least 1, at most all codes of a quantizer.

    Raises:
        UserError: Values out of range.
    """

    rate: float
    nearest: int

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate <= 1.0 or self.nearest < 1:
            raise UserError(
                f'perturbation: expected a rate in [0, 1] and 1 code or more to draw from, got {self.rate:g} and '
                f'{self.nearest}; 1.0 and 100 is what RobustTok begins with.'
            )

    def __str__(self) -> str:
        return f'codes replaced at a rate of {self.rate:g} by one of the {self.nearest} nearest'

    def check(self, quantizer: Any) -> None:
        """Raise if codes of this quantizer cannot be replaced one by one."""
        name, sizes = type(quantizer).__name__, quantizer.vocabularies
        if len(sizes) != 1:
            raise UserError(
                f'perturbation: expected a quantizer with one code a position, got {name} with {len(sizes)}.'
            )
        if quantizer.takes_labels:
            raise UserError(f'perturbation: expected one codebook, got {name} with one for each class.')
        if self.nearest > sizes[0]:
            raise UserError(f'perturbation: expected at most the {sizes[0]} codes of {name}, got {self.nearest}.')

    def latent(self, quantizer: Any, output: Any, seed: int | None = None) -> Tensor:
        """The quantized latent of an output, (B, D, H, W) or (B, D, L), with codes replaced.

        Replaced codes pass on the gradient of those that were chosen.

        Args:
            quantizer: A `Quantizer`.
            output: Its `QuantizerOutput`.
            seed: Makes what an image gets depend on its codes alone; by default torch's own random numbers decide.

        Raises:
            UserError: A quantizer that compares no latents, or has not one code for each.
        """
        z_BDHW, z_q_BDHW, indices_BL = output.z_BDHW, output.z_q_BDHW, output.codes.indices_BL
        if z_BDHW is None or z_BDHW[:, 0].numel() != indices_BL.numel():
            raise UserError(f'perturbation: expected one code for each latent, {type(quantizer).__name__} has others.')
        if seed is None:
            chance_BL = torch.rand(indices_BL.shape, device=z_BDHW.device)
            rank_BL = torch.randint(self.nearest, indices_BL.shape, device=z_BDHW.device)
        else:
            images = [self.drawn(codes_L, seed) for codes_L in indices_BL.cpu()]
            chance_BL, rank_BL = (torch.stack(part).to(z_BDHW.device) for part in zip(*images, strict=True))
        z_BHWD = z_BDHW.detach().movedim(1, -1).float()
        with torch.no_grad(), full_precision(z_BDHW.device.type):
            codebook_KD = quantizer.codebook()
            logits = euclidean_logits
            if hasattr(quantizer, 'logits'):  # nearest as its search sees it
                logits = partial(quantizer.logits, shift_D=quantizer.shift(codebook_KD))
            near_N = near_codes(z_BHWD.flatten(0, -2), codebook_KD, rank_BL.flatten(), self.nearest, logits)
            others = F.embedding(near_N, codebook_KD).view(z_BHWD.shape).movedim(-1, 1).to(z_q_BDHW.dtype)
        if z_q_BDHW.requires_grad:
            others = z_q_BDHW + (others - z_q_BDHW).detach()
        replaced = (chance_BL < self.rate).view(len(z_BDHW), 1, *z_BDHW.shape[2:])
        changed = torch.where(replaced, others, z_q_BDHW)
        return torch.empty_like(z_q_BDHW).copy_(changed)  # in its order in memory, which decides how convolutions sum

    def drawn(self, codes_L: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """For each code of an image a number in [0, 1) and the rank of the code that may take its place."""
        digest = hashlib.blake2b(codes_L.numpy().tobytes(), digest_size=7, salt=seed.to_bytes(8, 'little')).digest()
        rng = torch.Generator().manual_seed(int.from_bytes(digest, 'little'))
        return torch.rand(codes_L.shape, generator=rng), torch.randint(self.nearest, codes_L.shape, generator=rng)

    @contextmanager
    def applied(self, quantizer: Any, seed: int = 0) -> Iterator[None]:
        """Inside, the quantizer in eval returns perturbed latents; its codes stay what the encoder chose.

        Raises:
            UserError: See `check`.
        """
        self.check(quantizer)
        hook = quantizer.register_forward_hook(
            lambda module, _, output: replace(output, z_q_BDHW=self.latent(module, output, seed))
        )
        try:
            yield
        finally:
            hook.remove()


def near_codes(
    z_ND: Tensor, codebook_KD: Tensor, rank_N: Tensor, nearest: int, logits: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """For each latent the index of the code that only `rank_N` others are nearer than, (N,).

    Args:
        rank_N: In [0, nearest).
        nearest: Ranks that are looked at.
        logits: Of latents (M, D) and codes (K, D): (M, K), the largest for the nearest code.
    """
    chunk = max(1, MAX_SCORES // len(codebook_KD))
    found = []
    for part_MD, rank_M in zip(z_ND.split(chunk), rank_N.split(chunk), strict=True):
        near = torch.topk(logits(part_MD, codebook_KD), nearest, dim=1).indices
        found.append(near.gather(1, rank_M[:, None])[:, 0])
    return torch.cat(found)


def euclidean_logits(z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
    """Minus half the squared distances, up to a constant per latent: (N, K)."""
    centre_D = codebook_KD.mean(0)  # distances far from zero would cancel
    codes_KD = codebook_KD - centre_D
    return (z_ND - centre_D) @ codes_KD.T - codes_KD.square().sum(1) / 2
