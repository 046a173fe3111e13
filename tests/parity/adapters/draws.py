"""The random numbers that a case carries, in place of those that our code would draw."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from ..case import Case

# `torch.randperm(n) replaced by n-1..0`, `torch.rand_like by 0.5`, `torch.randint gives input/rows`
REPLACED = re.compile(
    r'torch\.(\w+)(?:\([^()]*\))? (?:is )?(?:replaced by|gives|gave|by) (n-1\.\.0|input/\w+|\d+(?:\.\d+)?)'
)


@contextmanager
def stored_draws(case: Case) -> Iterator[None]:
    """Inside, torch's functions give what they gave the peer, as the case's `determinism` records."""
    with ExitStack() as stack:
        for name, source in REPLACED.findall(case.description.get('determinism') or ''):
            stack.enter_context(patch.object(torch, name, replacement(case, name, source)))
        yield


def replacement(case: Case, name: str, source: str) -> Any:
    """A function with the signature of torch's that draws nothing."""
    if source == 'n-1..0':
        return lambda n, **options: torch.arange(n - 1, -1, -1)
    if source.startswith('input/'):
        stored = case.inputs[source.removeprefix('input/')]
        return lambda *arguments, **options: stored.clone()
    if name.endswith('_like'):
        return lambda like, **options: torch.full_like(like, float(source))
    return lambda *size, **options: torch.full(torch.Size(torch.empty(*size, device='meta').shape), float(source))


@contextmanager
def gumbel_noise(noise: Tensor) -> Iterator[None]:
    """Inside, what our code makes Gumbel noise from gives this noise, of as many elements as are asked for at once."""

    def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
        assert self.numel() == noise.numel(), f'drawn in pieces of {self.numel()}, the case stores {noise.numel()}'
        return self.copy_((-noise).exp().reshape(self.shape))

    with patch.object(Tensor, 'exponential_', exponential_):
        yield


def choose(rows_K: Tensor, count: int) -> Tensor:
    """Gumbel noise (K, count) with which row k draws `rows_K[k]` whatever its finite logits."""
    noise = torch.full((len(rows_K), count), -80.0)
    return noise.scatter_(1, rows_K.view(-1, 1), 80.0)
