#!/usr/bin/env python
"""The search beside the float32 product, the N x K matrix and half precision, in one run: time, memory, wrong codes.

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
from fvq_core.ops.nearest_code import KERNEL, check_operands, search
from fvq_core.ops.search.plain import plain_search
from fvq_core.ops.search.rescore import rescore


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
    elif name == 'uniform +-1/K':
        codes = torch.rand(K, D, device=device) * 2 / K - 1 / K
    elif name == 'an outlier':
        codes[K // 2] *= 1e6
    return z, codes


def textbook(z: Tensor, codes: Tensor) -> Tensor:
    with full_precision(z.device.type):
        return (z.square().sum(1, keepdim=True) - 2 * z @ codes.t() + codes.square().sum(1)).argmin(1)


def measure(call: Callable[[], Any], device: torch.device, repeats: int) -> dict[str, float]:
    """Median milliseconds, and MiB at the peak over what was there (on a GPU)."""
    cuda = device.type == 'cuda'
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


def wrong(z: Tensor, codes: Tensor, indices: Tensor, rows: int = 512) -> int:
    """Of the first rows, those that got another code than the lowest index among the best in float64."""
    count = 0
    for row, index in zip(z[:rows].double(), indices[:rows], strict=True):
        scores = torch.cat([rescore(row[None], part, 'l2') for part in codes.split(2**14)])
        count += int(index != scores.argmin())  # the first of equal ones
    return count


def compare(name: str, N: int, K: int, D: int, repeats: int, device: torch.device) -> dict[str, Any]:
    z, codes = data(name, N, K, D, device)
    check_operands(z, codes, 'l2')
    indices, stats = search(z, codes)
    half = z.bfloat16(), codes.bfloat16().t()
    plain = partial(plain_search, z, codes, 'l2', None, lambda *_: None)
    ways: dict[str, Callable[[], Any]] = {'ours': partial(search, z, codes), 'float32': plain}
    if N * K <= 2**30:
        ways |= {'textbook': partial(textbook, z, codes), 'bfloat16 product': partial(torch.mm, *half)}
    found: dict[str, Any] = {way: measure(call, device, repeats) for way, call in ways.items()}
    ratio = found['float32']['ms'] / found['ours']['ms']
    return dict(
        data=name, N=N, K=K, D=D, ways=found, times_float32=ratio, wrong=wrong(z, codes, indices),
        wrong_float32=wrong(z, codes, plain()[0]), slow_share=int(stats.slow_rows) / N, compared=int(stats.candidates) / N,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON (the only form)')
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    N, sizes = (32768, (16384, 262144)) if device.type == 'cuda' else (256, (1024,))
    D = 256 if device.type == 'cuda' else 64
    names = ('Gaussian', 'trained', 'rank 8', 'all equal', 'uniform +-1/K', 'an outlier')
    rows = [compare(name, N, K, D, args.repeats, device) for K in sizes for name in names]
    print(json.dumps({'device': str(device), 'kernel': KERNEL.enabled(device), 'rows': rows}, indent=2))


if __name__ == '__main__':
    main()
