#!/usr/bin/env python
"""IBQ and the entropy terms at K = 262,144: speed, memory and gradients against the textbook formulation, in one run.

The textbook's IBQ multiplies `onehot - sg[soft] + soft` by the codebook, which keeps several N x K matrices in autograd; its
entropies take a softmax over such a matrix. Ours take gradients a chunk of rows at a time, and LFQ's from its bits. Each
measurement runs in a process of its own, the two in turn, so that peaks of memory do not hide each other; their gradients of
the same loss are then compared.

    python benchmarks/ibq.py --json
    python benchmarks/ibq.py --term ibq-entropy     # with the entropy term of the released IBQ configs
    python benchmarks/ibq.py --term vq-entropy      # EntropyRegularizer by itself, l2 logits; lfq-entropy: LFQ's, without D
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


class TextbookEntropy(nn.Module):
    """The entropy term of a dense softmax, over l2 logits, or LFQ's over 2 z.c with all K corners as the codebook."""

    def __init__(self, codebook_KD: Tensor, lfq: bool) -> None:
        super().__init__()
        self.lfq = lfq
        if lfq:
            codes = torch.arange(len(codebook_KD), device=codebook_KD.device)
            bits = (codes[:, None] >> torch.arange(codebook_KD.shape[1], device=codes.device)) & 1
            self.embedding = nn.Parameter(2.0 * bits - 1, requires_grad=False)
        else:
            self.embedding = nn.Parameter(codebook_KD)

    def forward(self, z_BDHW: Tensor) -> tuple[Tensor, Tensor]:
        z_ND = z_BDHW.permute(0, 2, 3, 1).flatten(0, 2)
        logits_NK = 2 * z_ND @ self.embedding.t()
        if not self.lfq:
            logits_NK = logits_NK - z_ND.square().sum(1, keepdim=True) - self.embedding.square().sum(1)
        return z_BDHW, ENTROPY_WEIGHT * Textbook.entropy(logits_NK)


class OurEntropy(nn.Module):
    """`EntropyRegularizer` or `LFQ`'s term."""

    def __init__(self, codebook_KD: Tensor, lfq: bool) -> None:
        super().__init__()
        from fvq_quantizers import LFQ
        from fvq_quantizers.distances import SquaredL2
        from fvq_quantizers.regularizers import EntropyRegularizer

        self.lfq = LFQ(len(codebook_KD), commitment_weight=0.0, entropy_weight=ENTROPY_WEIGHT) if lfq else None
        self.regularizer, self.distance = EntropyRegularizer(ENTROPY_WEIGHT, TEMPERATURE), SquaredL2()
        self.embedding = nn.Parameter(codebook_KD, requires_grad=not lfq)

    def forward(self, z_BDHW: Tensor) -> tuple[Tensor, Tensor]:
        z_ND = z_BDHW.permute(0, 2, 3, 1).flatten(0, 2)
        if self.lfq is None:
            return z_BDHW, self.regularizer(z_ND, self.embedding, self.distance)['entropy']
        return z_BDHW, self.lfq.losses(z_ND[:, None], z_ND[:, None])['entropy']


CONTENDERS = ('textbook', 'ours')
TERMS: dict[str, tuple[Callable[[Tensor, bool], nn.Module], Callable[[Tensor, bool], nn.Module], bool]] = {
    'ibq': (TextbookIBQ, OurIBQ, False),
    'ibq-entropy': (TextbookIBQ, OurIBQ, True),
    'vq-entropy': (TextbookEntropy, OurEntropy, False),
    'lfq-entropy': (TextbookEntropy, OurEntropy, True),
}


def measure(name: str, term: str, size: dict[str, int], repeats: int, threads: int, folder: str, queue: Any) -> None:
    """Median seconds (of wall clock and of all threads) and peak extra MiB of forward + backward; gradients go to files."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    N, K, D = size['N'], size['K'], size['D']
    side = int(N**0.5)
    z = torch.randn(1, D, N // side, side, device=device).mul_(0.05 if term == 'lfq-entropy' else 1).requires_grad_()
    gradient, codebook_KD = torch.randn(z.shape, device=device), torch.randn(K, D, device=device) * D**-0.5
    *builders, option = TERMS[term]
    module = builders[CONTENDERS.index(name)](codebook_KD, option).to(device)

    def step() -> None:
        z.grad = None
        module.zero_grad(set_to_none=True)
        z_q, loss = module(z)
        ((z_q * gradient).sum() / N + loss).backward()
        if device.type == 'cuda':
            torch.cuda.synchronize()

    before = torch.cuda.memory_allocated() if device.type == 'cuda' else 0
    with PeakMemory() as memory:  # the first step: nothing is cached by the allocator yet
        step()
    extra = (torch.cuda.max_memory_allocated() - before) / 2**20 if device.type == 'cuda' else memory.extra_mib
    # The straight-through gradient is the same in both and would hide the entropies'.
    own = z.grad - (gradient / N if term in ('vq-entropy', 'lfq-entropy') else 0)
    gradients = {name: each.grad.cpu() for name, each in module.named_parameters() if each.grad is not None}
    torch.save(
        {'z': own.cpu(), **{name.rsplit('.', 1)[-1]: each for name, each in gradients.items()}}, f'{folder}/{name}.pt'
    )
    seconds, cpu_seconds = [], []
    for _ in range(repeats):
        start, cpu_start = time.perf_counter(), time.process_time()
        step()
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    medians = {'seconds': statistics.median(seconds), 'cpu_seconds': statistics.median(cpu_seconds)}
    queue.put({**medians, 'extra_mib': extra, 'device': device.type})


def in_a_process(*arguments: Any) -> dict[str, float]:
    """`measure` in a fresh process."""
    context = multiprocessing.get_context('spawn')
    queue = context.Queue()
    process = context.Process(target=measure, args=(*arguments, queue))
    process.start()
    while queue.empty():
        process.join(0.1)
        if process.exitcode and queue.empty():
            raise SystemExit(f'the process of {arguments[:2]} ended with {process.exitcode}')
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
    parser.add_argument('--term', choices=TERMS, default='ibq', help='what to measure; default %(default)s')
    parser.add_argument('--repeats', type=int, default=3, help='measured repeats; default %(default)s')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='CPU threads; default %(default)s')
    parser.add_argument(
        '--size',
        type=int,
        nargs=3,
        default=(1024, 262144, 256),
        metavar=('N', 'K', 'D'),
        help='latents, codes, channels',
    )
    args = parser.parse_args()

    size = dict(zip('NKD', args.size, strict=True))
    if args.term == 'lfq-entropy':
        size['D'] = (size['K'] - 1).bit_length()
    with tempfile.TemporaryDirectory() as folder:
        results = {name: in_a_process(name, args.term, size, args.repeats, args.threads, folder) for name in CONTENDERS}
        gradients = differences(Path(folder))
    document = {
        'task': f'{args.term}, forward + backward, float32',
        'device': results['ours'].pop('device'),
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
