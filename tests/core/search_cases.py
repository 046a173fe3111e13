"""Latents and codes that a search has trouble with, and the definition of the best code, written a second time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Data = tuple[Tensor, Tensor]


def normal(N: int, K: int, D: int, seed: int = 0) -> Data:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(N, D, generator=rng), torch.randn(K, D, generator=rng)


def trap(N: int, K: int, D: int, bits: int) -> Data:
    """Latents and codes whose rounding to `bits` bits all goes the way that favours the wrong code."""
    half, sign = D // 2, torch.ones(D)
    sign[half:] = -1
    up = 1 + 2.0**-bits + sign * 2.0**-20
    codes = torch.stack([-sign * up * (1 - 2.0**-20 * k) if k % 2 else sign * up for k in range(K)])
    return up.repeat(N, 1), codes


def sharp_trap(N: int, K: int, D: int, bits: int) -> Data:
    """Rounded to `bits` bits, even codes win by almost twice the largest error of a score; in truth odd ones do, by 2^-8."""
    n = (D - 1) // 2
    z, code = torch.zeros(D), torch.zeros(D)
    z[:n], z[n : 2 * n], z[2 * n] = 1 + 2.0**-bits + 2.0**-20, 1 + 2.0**-bits - 2.0**-20, 1
    code[:n], code[n : 2 * n], code[2 * n] = z[:n], -z[n : 2 * n], -(2.0**-8)
    return z.repeat(N, 1), torch.stack([code, -code]).repeat(K // 2 + 1, 1)[:K]


def scaled(data: Data, latents: Tensor | float, codes: Tensor | float) -> Data:
    return data[0] * latents, data[1] * codes


def sizes(count: int, decades: float) -> Tensor:
    return torch.logspace(-decades, decades, count)[:, None]


def outlier(data: Data, size: float) -> Data:
    data[1][len(data[1]) // 2] *= size
    return data


def broken(data: Data) -> Data:
    """A latent of zeros, and a code of zeros."""
    data[0][0] = 0
    data[1][len(data[1]) // 3] = 0
    return data


def low_rank(N: int, K: int, D: int, rank: int) -> Data:
    z, codes = normal(N, K, rank)
    basis = normal(rank, 1, D, 7)[0]
    return z @ basis, codes @ basis


def clusters(N: int, K: int, D: int, size: float = 1e-6) -> Data:
    """Codes in four places, so close together there that float32 cannot tell them apart."""
    z, places = normal(N, 4, D)
    return z, places[torch.arange(K) // 3 % 4] + size * normal(1, K, D, 1)[1]


CASES: dict[str, Callable[[int, int, int], Data]] = {
    'Gaussian': normal,
    'ties by halves': lambda N, K, D: (lambda c: ((c[: N // 2] + c[N // 2 : N // 2 * 2]) / 2, c))(
        normal(1, max(K, N), D)[1]
    ),
    'bfloat16 trap': lambda N, K, D: trap(N, K, D, 8),
    'float16 trap': lambda N, K, D: trap(N, K, D, 11),
    'bfloat16 sharp trap': lambda N, K, D: sharp_trap(N, K, D, 8),
    'float16 sharp trap': lambda N, K, D: sharp_trap(N, K, D, 11),
    'norms of every size': lambda N, K, D: scaled(normal(N, K, D), sizes(N, 4), sizes(K, 4)),
    'subnormal codes': lambda N, K, D: scaled(normal(N, K, D), 1.0, 1e-39),
    'subnormal products': lambda N, K, D: scaled(normal(N, K, D), 1e-23, 1e-23),
    'huge': lambda N, K, D: scaled(normal(N, K, D), 1e15, 1e15),
    'shared mean': lambda N, K, D: (100 + 0.3 * normal(N, K, D)[0], 100 + 0.3 * normal(N, K, D)[1]),
    'repeated codes': lambda N, K, D: (normal(N, K, D)[0], normal(N, -(-K // 3), D)[1].repeat(3, 1)[:K]),
    'all codes equal': lambda N, K, D: (normal(N, K, D)[0], normal(N, 1, D)[1].repeat(K, 1)),
    'codes of zeros': lambda N, K, D: scaled(normal(N, K, D), 1.0, 0.0),
    'nearly equal codes': lambda N, K, D: (normal(N, K, D)[0], 1 + 2e-7 * normal(N, K, D)[1]),
    'clusters': clusters,
    'uniform +-1/K': lambda N, K, D: (
        100 * normal(N, K, D)[0],
        torch.rand(K, D, generator=torch.Generator().manual_seed(3)) * 2 / K - 1 / K,
    ),
    'an outlier': lambda N, K, D: outlier(normal(N, K, D), 1e6),
    'a far outlier': lambda N, K, D: outlier(normal(N, K, D), 1e15),
    'zero rows': lambda N, K, D: broken(normal(N, K, D)),
    'rank 2': lambda N, K, D: low_rank(N, K, D, 2),
}


def badness(z_ND: Tensor, codebook_KD: Tensor, distance: str) -> np.ndarray:
    """(N, K), float64: 32 lanes of channels, each from its first to its last, then halved, in numpy."""
    z, codes = z_ND.double().numpy()[:, None], codebook_KD.double().numpy()[None]
    terms = np.square(z - codes) if distance == 'l2' else -(z * codes)
    lanes = np.zeros((*terms.shape[:2], 32))
    for channel in range(terms.shape[2]):
        lanes[:, :, channel % 32] += terms[:, :, channel]
    while lanes.shape[2] > 1:
        half = lanes.shape[2] // 2
        lanes = lanes[:, :, :half] + lanes[:, :, half:]
    return lanes[:, :, 0]


def best_by_definition(z_ND: Tensor, codebook_KD: Tensor, distance: str) -> Tensor:
    """The lowest index among the codes that are best in float64."""
    return torch.from_numpy(badness(z_ND, codebook_KD, distance).argmin(1))
