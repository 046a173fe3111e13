#!/usr/bin/env python
"""Index back-propagation (IBQ) at K = 262,144: speed, memory and gradients against the textbook formulation, in one run.

The textbook multiplies `onehot - sg[soft] + soft` by the codebook, which keeps several N x K matrices in autograd. Ours takes
the soft choice's gradient a chunk of rows at a time. Each measurement runs in a process of its own, the two in turn, so that
peaks of resident memory do not hide each other; their gradients of the same loss are then compared.

    python benchmarks/ibq.py --json
    python benchmarks/ibq.py --entropy     # with the entropy term of the released IBQ configs
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from quantizer import PeakMemory, Textbook
from torch import Tensor, nn

BETA, ENTROPY_WEIGHT, TEMPERATURE = 0.25, 0.05, 0.01


class TextbookIBQ(nn.Module):
    """IBQ as its paper writes it, with dense N x K matrices."""

    def __init__(self, codebook_KD: Tensor, entropy: bool) -> None:
        super().__init__()
        self.embedding, self.entropy = nn.Parameter(codebook_KD), entropy

    def forward(self, z_BDHW: Tensor) -> tuple[Tensor, Tensor]:
        z_ND = z_BDHW.permute(0, 2, 3, 1).flatten(0, 2)
        logits_NK = z_ND @ self.embedding.t()
        soft_NK = logits_NK.softmax(1)
        indices_N = soft_NK.argmax(1)
        hard_NK = torch.zeros_like(soft_NK).scatter_(1, indices_N.unsqueeze(1), 1.0)
        z_q_ND = (hard_NK - soft_NK.detach() + soft_NK) @ self.embedding
        codes_ND = hard_NK @ self.embedding
        loss = (
            F.mse_loss(z_q_ND, z_ND) + F.mse_loss(codes_ND.detach(), z_ND) + BETA * F.mse_loss(codes_ND, z_ND.detach())
        )
        if self.entropy:
            loss = loss + ENTROPY_WEIGHT * Textbook.entropy(logits_NK)
        return z_q_ND.view(z_BDHW.shape[0], *z_BDHW.shape[2:], -1).permute(0, 3, 1, 2), loss


class OurIBQ(nn.Module):
    """The same as a composition of this repository."""

    def __init__(self, codebook_KD: Tensor, entropy: bool) -> None:
        super().__init__()
        from fvq_quantizers import VectorQuantizer

        self.quantizer = VectorQuantizer(
            *codebook_KD.shape,
            distance=dict(type='DotProduct'),
            estimator=dict(type='IndexBackpropagation'),
            loss=dict(type='IBQLoss', beta=BETA),
            regularizer=dict(
                type='EntropyRegularizer', weight=ENTROPY_WEIGHT if entropy else 0.0, temperature=TEMPERATURE
            ),
        )
        self.quantizer.embedding.data = codebook_KD

    def forward(self, z_BDHW: Tensor) -> tuple[Tensor, Tensor]:
        output = self.quantizer(z_BDHW)
        return output.z_q_BDHW, torch.stack(list(output.losses.values())).sum()


CONTENDERS: dict[str, Callable[[Tensor, bool], nn.Module]] = {'textbook': TextbookIBQ, 'ours': OurIBQ}


def measure(
    name: str, size: dict[str, int], entropy: bool, repeats: int, threads: int, folder: str, queue: Any
) -> None:
    """Median seconds (of wall clock and of all threads) and peak extra MiB of forward + backward; gradients go to files."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    N, K, D = size['N'], size['K'], size['D']
    side = int(N**0.5)
    z, gradient = torch.randn(1, D, N // side, side, requires_grad=True), torch.randn(1, D, N // side, side)
    module = CONTENDERS[name](torch.randn(K, D) * D**-0.5, entropy)
    (codebook,) = module.parameters()

    def step() -> None:
        z.grad = codebook.grad = None
        z_q, loss = module(z)
        ((z_q * gradient).sum() / N + loss).backward()

    with PeakMemory() as memory:  # the first step: nothing is cached by the allocator yet
        step()
    torch.save({'z': z.grad, 'codebook': codebook.grad}, f'{folder}/{name}.pt')
    seconds, cpu_seconds = [], []
    for _ in range(repeats):
        start, cpu_start = time.perf_counter(), time.process_time()
        step()
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    medians = {'seconds': statistics.median(seconds), 'cpu_seconds': statistics.median(cpu_seconds)}
    queue.put({**medians, 'extra_mib': memory.extra_mib})


def in_a_process(*arguments: Any) -> dict[str, float]:
    """`measure` in a fresh process."""
    context = multiprocessing.get_context('spawn')
    queue = context.Queue()
    process = context.Process(target=measure, args=(*arguments, queue))
    process.start()
    result = queue.get()
    process.join()
    return result


def differences(folder: Path) -> dict[str, float]:
    """Largest difference of the two gradients, over the textbook's largest entry."""
    textbook, ours = (torch.load(folder / f'{name}.pt') for name in CONTENDERS)
    return {key: ((ours[key] - want).abs().max() / want.abs().max()).item() for key, want in textbook.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    parser.add_argument('--entropy', action='store_true', help='add the entropy term')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--size', type=int, nargs=3, default=(1024, 262144, 256), metavar=('N', 'K', 'D'))
    args = parser.parse_args()

    size = dict(zip('NKD', args.size, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        results = {
            name: in_a_process(name, size, args.entropy, args.repeats, args.threads, folder) for name in CONTENDERS
        }
        gradients = differences(Path(folder))
    document = {
        'task': f'IBQ forward + backward{", with entropy" if args.entropy else ""}, float32, CPU',
        'size': size,
        'threads': args.threads,
        'torch': torch.__version__,
        **results,
        'speedup_ratio': results['textbook']['seconds'] / results['ours']['seconds'],
        'cpu_speedup_ratio': results['textbook']['cpu_seconds'] / results['ours']['cpu_seconds'],
        'memory_ratio': results['ours']['extra_mib'] / results['textbook']['extra_mib'],
        'codebook_gradient_mib': size['K'] * size['D'] * 4 / 2**20,
        'relative_gradient_difference': gradients,
    }
    if args.json:
        print(json.dumps(document, indent=2))
        return
    for name in CONTENDERS:
        print(f'{name:9s} {results[name]["seconds"]:7.2f} s  {results[name]["extra_mib"]:8.0f} MiB extra')
    print(
        f'ours is {document["speedup_ratio"]:.1f} times faster with {document["memory_ratio"]:.2f} of the extra memory; '
        f'gradients differ by at most {max(gradients.values()):.1e} of the largest'
    )


if __name__ == '__main__':
    main()
