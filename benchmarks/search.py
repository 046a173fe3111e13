#!/usr/bin/env python
"""Nearest-code search against the float32 product, the N x K matrix and half precision: time, memory, wrong codes.

    FVQ_KERNELS=all python benchmarks/search.py --json

A code is wrong if it is not the lowest index among those that float64 calls best (`search.rescore`); 512 rows are looked at.
Without a GPU it runs at a small size.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fvq_core.ops.full_precision import full_precision
from fvq_core.ops.nearest_code import KERNEL, search
from fvq_core.ops.search.plain import plain_search
from fvq_core.ops.search.rescore import best_of_pairs, first_of_equal, rescore


def data(name: str, N: int, K: int, D: int, device: torch.device) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    z, codes = torch.randn(N, D, device=device), torch.randn(K, D, device=device)
    if name == 'trained':  # codes among the latents
        codes = torch.randn(K, D, device=device).mul_(0.1).add_(z[torch.randint(N, (K,), device=device)])
    elif name == 'rank 8':
        basis = torch.randn(8, D, device=device)
        z, codes = z[:, :8] @ basis, codes[:, :8] @ basis
    elif name == 'all equal':
        codes = codes[:1].repeat(K, 1)
    elif name == 'clusters':  # 16 of codes that float32 cannot tell apart
        codes = codes[torch.arange(K, device=device) % 16] + 1e-6 * torch.randn(K, D, device=device)
    elif name == 'copies':
        codes = codes[torch.randint(64, (K,), device=device)]
    elif name == 'uniform +-1/K':
        codes = torch.rand(K, D, device=device) * 2 / K - 1 / K
    elif name == 'an outlier':
        codes[K // 2] *= 1e6
    return z, codes


def in_chunks(call: Callable[[Tensor], Any], z: Tensor, K: int) -> None:
    for part in z.split(max(1, 2**30 // K)):
        call(part)


def other_ways(z: Tensor, codes: Tensor) -> dict[str, Callable[[], Any] | str]:
    """Peers and limits; a sentence for one that cannot be had."""
    codes_DK, half_z, half_DK = codes.t(), z.bfloat16(), codes.bfloat16().t()

    def textbook(z: Tensor) -> Tensor:
        with full_precision(z.device.type):
            return (z.square().sum(1, keepdim=True) - 2 * z @ codes_DK + codes.square().sum(1)).argmin(1)

    K = len(codes)
    ways: dict[str, Callable[[], Any] | str] = {
        'textbook': lambda: in_chunks(textbook, z, K),
        'bfloat16 product': lambda: in_chunks(lambda part: part @ half_DK, half_z, K),
    }
    try:
        from flash_kmeans.assign_euclid_triton import euclid_assign_triton  # pyrefly: ignore[missing-import]
    except ImportError:
        return ways | {'flash-kmeans': 'not installed', 'flash-kmeans bfloat16': 'not installed'}
    for name, x, c in (('flash-kmeans', z, codes), ('flash-kmeans bfloat16', half_z, half_DK.t())):
        operands = x[None], c[None].contiguous(), x.float().square().sum(1)[None]
        ways[name] = partial(euclid_assign_triton, *operands)
    return ways


def measure(call: Callable[[], Any], device: torch.device, repeats: int) -> dict[str, float]:
    """Median milliseconds, and MiB at the peak over what was there (on a GPU)."""
    cuda, before = device.type == 'cuda', 0
    call()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        if cuda:
            torch.cuda.synchronize()
        spent.append(1e3 * (time.perf_counter() - start))
    found = {'ms': statistics.median(spent)}
    return found | ({'extra_mib': (torch.cuda.max_memory_allocated() - before) / 2**20} if cuda else {})


def by_definition(z: Tensor, codes: Tensor, distance: str, values: int = 2**25) -> Tensor:
    """The lowest index among the codes that `rescore` calls best.

    A float64 product leaves out codes that its rounding, (D + 8) 2^-53 of the norms, cannot make best, and so do equal codes of
    lower index; `rescore` compares all others.
    """
    K, g = len(codes), 8 * (codes.shape[1] + 8) * 2.0**-53
    codes64, norms = codes.double(), codes.double().norm(dim=1)
    later = first_of_equal(codes) != torch.arange(K, device=codes.device)
    found = []
    for part in z.split(max(1, values // K)):
        length = part.double().norm(dim=1, keepdim=True)
        scores, error = part.double() @ codes64.t(), g * length * norms
        if distance == 'l2':
            scores -= norms.square() / 2
            error += g * (norms.square() + length.square())
        upper = (scores + error).masked_fill_(later, -torch.inf)
        rows, kept = (upper >= (scores - error).amax(1, keepdim=True)).nonzero(as_tuple=True)
        found.append(best_of_pairs(part, codes, rows, kept, distance))
    return torch.cat(found)


def by_all_pairs(z: Tensor, codes: Tensor, distance: str) -> Tensor:
    """The same without the product, as a check of it."""
    return torch.cat([rescore(row, codes, distance).min(0).indices[None] for row in z])


def compare(name: str, distance: str, N: int, K: int, D: int, repeats: int, device: torch.device) -> dict[str, Any]:
    z, codes = data(name, N, K, D, device)
    indices, stats = search(z, codes, distance)
    plain = partial(plain_search, z, codes, distance, None, lambda *_: None)
    ways: dict[str, Callable[[], Any] | str] = {'ours': partial(search, z, codes, distance), 'float32': plain}
    if name == 'Gaussian' and distance == 'l2':
        ways |= other_ways(z, codes)
    found: dict[str, Any] = {
        way: call if isinstance(call, str) else measure(call, device, repeats) for way, call in ways.items()
    }
    best = by_definition(z, codes, distance)
    few = slice(0, N, max(1, N // 32))
    return dict(
        data=name, distance=distance, N=N, K=K, D=D, ways=found,
        times_float32=found['float32']['ms'] / found['ours']['ms'],
        wrong=int((indices != best).sum()), wrong_float32=int((plain()[0] != best).sum()),
        wrong_reference=int((best[few] != by_all_pairs(z[few], codes, distance)).sum()),
        slow_share=int(stats.slow_rows) / N, compared=int(stats.candidates) / N,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON (the only form)')
    parser.add_argument('--repeats', type=int, default=5, help='measured repeats; default %(default)s')
    args = parser.parse_args()
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    N, sizes = (32768, (16384, 262144)) if device.type == 'cuda' else (256, (1024,))
    D = 256 if device.type == 'cuda' else 64
    names = ('Gaussian', 'trained', 'rank 8', 'all equal', 'copies', 'clusters', 'uniform +-1/K', 'an outlier')
    rows = [
        compare(name, distance, N, K, D, args.repeats, device)
        for K in sizes
        for name in names
        for distance in ('l2', 'dot')
    ]
    print(json.dumps({'device': str(device), 'kernel': KERNEL.enabled(device), 'rows': rows}, indent=2))


if __name__ == '__main__':
    main()
