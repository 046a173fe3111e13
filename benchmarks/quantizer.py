#!/usr/bin/env python
"""Speed and memory of the vector quantizer against the textbook formulation, both in one run.

The textbook keeps the N x K distance matrix in autograd and computes an entropy term at weight 0, as released codes do.
Each measurement runs in a process of its own, so that peaks of memory (resident, or allocated on a GPU) do not hide each
other. It runs on a GPU if there is one, with more latents.

    python benchmarks/quantizer.py --json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.ops.distributed import choose_device


class Textbook(nn.Module):
    """VQ as it is usually written: distances, argmin, entropy loss times 0, codebook and commitment loss."""

    def __init__(self, codebook_size: int, code_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(
            torch.empty(codebook_size, code_dim).uniform_(-1 / codebook_size, 1 / codebook_size)
        )

    def codebook(self) -> Tensor:
        return self.embedding

    def forward(self, z_BDHW: Tensor) -> tuple[Tensor, Tensor]:
        z, codebook = z_BDHW.permute(0, 2, 3, 1), self.codebook()
        flat = z.reshape(-1, z.shape[-1])
        distance = flat.square().sum(1, keepdim=True) + codebook.square().sum(1) - 2 * flat @ codebook.t()
        indices = distance.argmin(1)
        codes = codebook[indices].view(z.shape)
        loss = F.mse_loss(codes, z.detach()) + 0.25 * F.mse_loss(codes.detach(), z) + 0.0 * self.entropy(-distance)
        z_q = z + (codes - z).detach()
        return z_q.permute(0, 3, 1, 2), loss

    @staticmethod
    def entropy(affinity: Tensor) -> Tensor:
        logits = affinity / 0.01
        p, log_p = logits.softmax(-1), (logits + 1e-5).log_softmax(-1)
        mean = p.mean(0)
        return -(p * log_p).sum(-1).mean() + (mean * (mean + 1e-5).log()).sum()


class Ours(nn.Module):
    """`VectorQuantizer` of this repository with its defaults."""

    def __init__(self, codebook_size: int, code_dim: int) -> None:
        super().__init__()
        from fvq_quantizers import VectorQuantizer

        self.quantizer = VectorQuantizer(codebook_size, code_dim)

    def forward(self, z_BDHW: Tensor) -> tuple[Tensor, Tensor]:
        output = self.quantizer(z_BDHW)
        return output.z_q_BDHW, torch.stack(list(output.losses.values())).sum()


CONTENDERS: dict[str, Callable[[int, int], nn.Module]] = {'textbook': Textbook, 'ours': Ours}


def resident_mib() -> float:
    """Resident memory now."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


class PeakMemory:
    """Peak of resident memory inside a `with`, over what was there at its start, sampled every 2 ms."""

    def __enter__(self) -> PeakMemory:
        self.start = self.peak = resident_mib()
        self.running = True
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while self.running:
            self.peak = max(self.peak, resident_mib())
            time.sleep(0.002)

    def __exit__(self, *error: object) -> None:
        self.running = False
        self.thread.join()

    @property
    def extra_mib(self) -> float:
        return self.peak - self.start


class PeakAllocated:
    """The same of what is allocated on the GPU."""

    def __enter__(self) -> PeakAllocated:
        torch.cuda.reset_peak_memory_stats()
        self.start = torch.cuda.memory_allocated()
        return self

    def __exit__(self, *error: object) -> None:
        self.extra_mib = (torch.cuda.max_memory_allocated() - self.start) / 2**20


def measure(name: str, N: int, K: int, D: int, repeats: int, threads: int, device: str, queue: Any) -> None:
    """Median seconds and peak extra MiB of forward + backward."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    module = CONTENDERS[name](K, D).to(device)
    side = int(N**0.5)
    z = torch.randn(1, D, N // side, side, device=device, requires_grad=True)

    def step() -> None:
        z.grad = None
        module.zero_grad(set_to_none=True)
        z_q, loss = module(z)
        (z_q.sum() + loss).backward()
        if device == 'cuda':
            torch.cuda.synchronize()

    with (
        PeakAllocated() if device == 'cuda' else PeakMemory() as memory
    ):  # the first step: a CPU's heap keeps nothing yet
        step()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    queue.put({'seconds': statistics.median(seconds) if seconds else None, 'extra_mib': memory.extra_mib})


def in_a_process(name: str, N: int, K: int, D: int, repeats: int, threads: int, device: str) -> dict[str, float]:
    """`measure` in a fresh process."""
    context = multiprocessing.get_context('spawn')
    queue = context.Queue()
    process = context.Process(target=measure, args=(name, N, K, D, repeats, threads, device, queue))
    process.start()
    result = queue.get()
    process.join()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    parser.add_argument('--repeats', type=int, default=5, help='measured repeats; default %(default)s')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='CPU threads; default %(default)s')
    args = parser.parse_args()

    device = choose_device('auto').type
    times = 16 if device == 'cuda' else 1
    size = dict(N=times * 2048, K=16384, D=256)
    large = dict(N=times * 1024, K=262144, D=256)
    run = partial(in_a_process, threads=args.threads, device=device)
    results = {name: run(name, **size, repeats=args.repeats) for name in CONTENDERS}
    largest = run('ours', **large, repeats=0)
    document = {
        'task': f'forward + backward, float32, {device}',
        'size': size,
        'threads': args.threads,
        'torch': torch.__version__,
        **results,
        'speedup_ratio': results['textbook']['seconds'] / results['ours']['seconds'],
        'memory_ratio': results['ours']['extra_mib'] / results['textbook']['extra_mib'],
        'large': {'size': large, 'extra_mib': largest['extra_mib'], 'codebook_gradient_mib': 262144 * 256 * 4 / 2**20},
    }
    if args.json:
        print(json.dumps(document, indent=2))
        return
    for name in CONTENDERS:
        print(f'{name:9s} {results[name]["seconds"]:8.4f} s  {results[name]["extra_mib"]:8.1f} MiB extra')
    print(
        f'ours is {document["speedup_ratio"]:.1f} times faster with {document["memory_ratio"]:.2f} of the extra memory'
    )
    print(
        f'N={large["N"]}, K=262144: {largest["extra_mib"]:.0f} MiB extra, 256 MiB of them the gradient of the codebook'
    )


if __name__ == '__main__':
    main()
