"""Mean and covariance of features: float64 sums that grow image by image, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fvq_core.errors import UserError

from ..distances.frechet import square_root_factor
from .gather import sum_over_ranks


@dataclass(frozen=True)
class Gaussian:
    """The normal distribution that a Frechet distance sees of a set of features.

    Attributes:
        mean_D: float64.
        covariance_DD: float64, with N - 1 below.
        count: Number of images, None if a file of statistics does not state it.
    """

    mean_D: Tensor
    covariance_DD: Tensor
    count: int | None = None

    @cached_property
    def factor(self) -> Tensor:
        """L with L L^T = covariance, (D, R), computed once; R is below D if the covariance is singular."""
        return square_root_factor(self.covariance_DD)


class Moments:
    """Streaming sums of x and x x^T in float64, shifted so that no digits cancel.

    Args:
        shift_D: What is subtracted from every vector first, the mean of the reference for instance; by default the mean of
            the first batch.
    """

    def __init__(self, dim: int, shift_D: Tensor | None = None) -> None:
        self.dim = dim
        self.shift_D = None if shift_D is None else shift_D.to(torch.float64).clone()
        self.count = 0
        device = None if shift_D is None else shift_D.device
        self.sum_D = torch.zeros(dim, dtype=torch.float64, device=device)
        self.products_DD = torch.zeros(dim, dim, dtype=torch.float64, device=device)

    def update(self, x_ND: Tensor) -> None:
        """Add vectors of any float type; an empty batch changes nothing."""
        if x_ND.ndim != 2 or x_ND.shape[1] != self.dim:
            raise UserError(f'Moments: expected vectors (N, {self.dim}), got {tuple(x_ND.shape)}.')
        if not len(x_ND):
            return
        x_ND = x_ND.to(torch.float64)
        if self.shift_D is None:
            self.shift_D = x_ND.mean(0)
        if self.sum_D.device != x_ND.device:
            self.to(x_ND.device)
        x_ND = x_ND - self.shift_D
        self.count += len(x_ND)
        self.sum_D += x_ND.sum(0)
        self.products_DD.addmm_(x_ND.T, x_ND)

    def remove(self, x_ND: Tensor) -> None:
        """Take out vectors that were added before."""
        if not len(x_ND):
            return
        assert self.shift_D is not None
        x_ND = x_ND.to(self.sum_D) - self.shift_D
        self.count -= len(x_ND)
        self.sum_D -= x_ND.sum(0)
        self.products_DD.addmm_(x_ND.T, x_ND, alpha=-1)

    def to(self, device: torch.device | str) -> Moments:
        """Move the sums."""
        self.sum_D, self.products_DD = self.sum_D.to(device), self.products_DD.to(device)
        if self.shift_D is not None:
            self.shift_D = self.shift_D.to(device)
        return self

    def rebase(self, shift_D: Tensor) -> None:
        """Express the same sums about another shift."""
        shift_D = shift_D.to(self.sum_D)
        if self.shift_D is not None and self.count:
            step_D = self.shift_D - shift_D
            cross_DD = torch.outer(self.sum_D, step_D)
            self.products_DD += cross_DD + cross_DD.T + self.count * torch.outer(step_D, step_D)
            self.sum_D += self.count * step_D
        self.shift_D = shift_D.clone()

    @property
    def mean(self) -> Tensor:
        """(D,) float64."""
        self.need(1, 'mean')
        assert self.shift_D is not None
        return self.shift_D + self.sum_D / self.count

    @property
    def covariance(self) -> Tensor:
        """(D, D) float64, with N - 1 below, as `numpy.cov` has it."""
        self.need(2, 'covariance')
        covariance_DD = self.products_DD - torch.outer(self.sum_D, self.sum_D) / self.count
        return covariance_DD / (self.count - 1)

    def gaussian(self) -> Gaussian:
        """Mean and covariance on the CPU."""
        return Gaussian(self.mean.cpu(), self.covariance.cpu(), self.count)

    def need(self, count: int, what: str) -> None:
        if self.count < count:
            raise UserError(f'Moments: a {what} needs at least {count} images, got {self.count}; give more images.')


def sum_moments(moments: Mapping[str, Moments], shifts: Sequence[Mapping[str, Tensor | None]]) -> None:
    """Sum moments over ranks, in place, about one shift; `shifts` are those of every rank, rank 0's first."""
    for name, each in moments.items():
        shift_D = next((shift[name] for shift in shifts if shift[name] is not None), None)
        if shift_D is not None:
            each.rebase(shift_D)
    own = [(each.sum_D.new_tensor([each.count]), each.sum_D, each.products_DD) for each in moments.values()]
    sums = iter(sum_over_ranks([tensor for part in own for tensor in part]))
    for each in moments.values():
        each.count, each.sum_D, each.products_DD = int(next(sums)), next(sums), next(sums)
