"""Random numbers that depend on nothing but seed, rank and iteration."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_iteration(seed: int, rank: int, iteration: int) -> None:
    """Seed every random source for one iteration, so that no state has to be saved to resume it."""
    mixed = random.Random(f'{seed}/{rank}/{iteration}').getrandbits(32)
    random.seed(mixed)
    np.random.seed(mixed)
    torch.manual_seed(mixed)
