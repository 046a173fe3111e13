#!/usr/bin/env python
"""Sampling of LlamaGen's generators against a plain loop in the style of released code, side by side in one run, and
against the memory-bandwidth limit.

The plain loop has the same weights and draws the same codes. It keeps keys and values, and otherwise does what is easily
written: grows them by concatenation, builds its masks and angles anew at each step, repeats heads, computes gate and up of
the feed-forward layer apart, takes softmaxes of all logits and keeps copies of them, and reads the condition's half to the
end. With `FVQ_KERNELS=all` ours runs with our kernels (`fvq_generators.ops`), and once more without them. The limit is the
time to read all weights and the cache once a step at the copy bandwidth of this machine.

    python benchmarks/sampling.py --json                     # CPU: GPT-B, batch 2 with guidance, 64 codes
    python benchmarks/sampling.py --sizes L XL --codes 256   # on a GPU: batch 1 and 64 in bfloat16, compiled steps
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_generators import LlamaGen
from fvq_generators.ops.draw import DRAW
from fvq_generators.ops.few_rows import STEP
from fvq_generators.sampling import Sampler, uniforms

SIZES = {
    'B': dict(depth=12, dim=768, heads=12),
    'L': dict(depth=24, dim=1024, heads=16),
    'XL': dict(depth=36, dim=1280, heads=20),
    'XXL': dict(depth=48, dim=1536, heads=24),
    '3B': dict(depth=24, dim=3200, heads=32),
    'tiny': dict(depth=2, dim=64, heads=4),
}
CFG_SCALE = 2.0


def build(size: str, codes: int, device: torch.device, dtype: torch.dtype) -> LlamaGen:
    """A generator with random weights; they cost the same."""
    side = int(codes**0.5)
    layout = dict(type='Grid', height=side, width=codes // side, codebook_size=256 if size == 'tiny' else 16384)
    torch.manual_seed(0)
    with torch.device(device):
        generator = LlamaGen(layout=layout, **SIZES[size])
        torch.nn.init.normal_(generator.head.weight, std=0.02)
    return generator.to(dtype).eval()


class Plain:
    """The plain loop."""

    def __init__(self, generator: LlamaGen) -> None:
        self.generator = generator
        self.gates = [[part.contiguous() for part in block.ffn.gate_up.weight.chunk(2)] for block in generator.blocks]

    def rotate(self, x: Tensor, rows: Tensor) -> Tensor:
        pairs = x.float().reshape(*x.shape[:-1], -1, 2)
        rows = rows.view(1, pairs.size(1), 1, pairs.size(3), 2)
        a = pairs[..., 0] * rows[..., 0] - pairs[..., 1] * rows[..., 1]
        b = pairs[..., 1] * rows[..., 0] + pairs[..., 0] * rows[..., 1]
        return torch.stack([a, b], dim=-1).flatten(3).type_as(x)

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        full = x.float()
        return (full * torch.rsqrt(full.pow(2).mean(-1, keepdim=True) + 1e-5)).type_as(x) * weight

    def forward(self, x: Tensor, cache: list[Any], place: int, total: int) -> Tensor:
        generator = self.generator
        mask = torch.tril(torch.ones(total, total, dtype=torch.bool, device=x.device))
        mask = mask.unsqueeze(0).repeat(len(x), 1, 1)[:, None, place : place + x.shape[1], : place + x.shape[1]]
        generator._make_tables()
        rows = generator.rotations[place : place + x.shape[1]]
        for number, block in enumerate(generator.blocks):
            attention, heads = block.attention, block.attention.heads
            q, k, v = attention.qkv(self.norm(x, block.attention_norm.weight)).chunk(3, dim=-1)
            q, k, v = (part.view(*part.shape[:2], heads, -1) for part in (q, k, v))
            q, k, v = (part.transpose(1, 2) for part in (self.rotate(q, rows), self.rotate(k, rows), v))
            if cache[number] is not None:
                k, v = torch.cat([cache[number][0], k], dim=2), torch.cat([cache[number][1], v], dim=2)
            cache[number] = (k, v)
            k, v = (part.repeat_interleave(1, dim=1) for part in (k, v))
            scores = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).masked_fill(~mask, -torch.inf)
            out = scores.softmax(-1) @ v
            x = x + attention.out(out.transpose(1, 2).contiguous().view(x.shape))
            normed, (gate, up) = self.norm(x, block.ffn_norm.weight), self.gates[number]
            x = x + block.ffn.out(F.silu(F.linear(normed, gate)) * F.linear(normed, up))
        return generator.head(self.norm(x, generator.norm.weight)).float()

    @torch.no_grad()
    def sample(self, classes: Tensor, uniforms_BL: Tensor, cfg_scale: float) -> Tensor:
        generator, total = self.generator, 1 + uniforms_BL.shape[1]
        both = torch.cat([classes, torch.full_like(classes, generator.condition.num_classes)])
        cache: list[Any] = [None] * len(generator.blocks)
        logits = self.forward(generator.condition(both), cache, 0, total)
        tokens, kept = [], []
        for number in range(uniforms_BL.shape[1]):
            conditional, unconditional = logits[:, -1].split(len(classes))
            guided = unconditional + (conditional - unconditional) * cfg_scale
            probabilities = guided.softmax(-1)
            kept.append(probabilities.clone())
            cumulative = probabilities.double().cumsum(-1)  # drawn as ours are, so that the codes can be compared
            wanted = uniforms_BL[:, number, None] * cumulative[:, -1:]
            tokens.append(torch.searchsorted(cumulative, wanted, right=True).clone())
            if number + 1 < uniforms_BL.shape[1]:
                x = generator.code_embedding(torch.cat([tokens[-1], tokens[-1]]))
                logits = self.forward(x, cache, number + 1, total)
        return torch.cat(tokens, dim=1)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes read and written in a second, at best, by a copy far larger than any cache."""
    source = torch.ones(2**26 if device.type == 'cpu' else 2**29, device=device)
    target = torch.empty_like(source)
    return max(2 * source.nbytes / seconds(lambda: target.copy_(source), device) for _ in range(8))


def seconds(function: Callable[[], Any], device: torch.device) -> float:
    """Of one call."""
    if device.type == 'cuda':
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if device.type == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - start


def step_bytes(generator: LlamaGen, batch: int) -> float:
    """What a step must read: every weight but the embeddings' tables, and on average half of the cache."""
    tables = {'code_embedding.weight', 'condition.table.weight'}
    weights = sum(p.nbytes for name, p in generator.named_parameters() if name not in tables)
    return weights + generator.new_cache(2 * batch).nbytes / 2


@contextmanager
def without_kernels() -> Iterator[None]:
    """Plain torch inside, as after a launch that failed."""
    before = STEP.failed, DRAW.failed
    STEP.failed = DRAW.failed = True
    try:
        yield
    finally:
        STEP.failed, DRAW.failed = before


def launches(function: Callable[[], Any], codes: int) -> float | None:
    """Kernels on a GPU for each code."""
    if not torch.cuda.is_available():
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiled:
        function()
    events = [event for event in profiled.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return sum(not event.name.startswith('Mem') for event in events) / codes


def measure(size: str, batch: int, codes: int, device: torch.device, repeats: int, compiled: bool) -> dict[str, Any]:
    """Seconds of ours, of the plain loop, and of the limit, in turns."""
    dtype = torch.float32 if device.type == 'cpu' else torch.bfloat16
    generator = build(size, codes, device, dtype)
    plain = Plain(generator)
    classes = torch.arange(batch, device=device)
    seeds = list(range(batch))
    drawn = uniforms(seeds, codes).to(device)
    results: dict[str, Tensor] = {}

    def ours() -> None:
        sampled = generator.sample(classes, cfg_scale=CFG_SCALE, seeds=seeds, pick=Sampler(), compile=compiled)
        results['ours'] = sampled.indices_BL

    unfused = copy.deepcopy(generator)

    def ours_plain() -> None:
        with without_kernels():
            sampled = unfused.sample(classes, cfg_scale=CFG_SCALE, seeds=seeds, pick=Sampler(), compile=compiled)
        results['ours_without_kernels'] = sampled.indices_BL

    fused = STEP.enabled(device) and DRAW.enabled(device)

    def theirs() -> None:
        results['plain'] = plain.sample(classes, drawn, CFG_SCALE)

    if device.type == 'cuda':
        ours()  # compiles and records
        if fused:
            ours_plain()
    times: dict[str, list[float]] = {'ours': [], 'ours_without_kernels': [], 'plain': []}
    bandwidths = []
    for _ in range(repeats):
        bandwidths.append(copy_bandwidth(device))
        times['ours'].append(seconds(ours, device))
        if fused:
            times['ours_without_kernels'].append(seconds(ours_plain, device))
        times['plain'].append(seconds(theirs, device))
    agreement = (results['ours'] == results['plain']).float().mean().item()
    limit = codes * step_bytes(generator, batch) / statistics.median(bandwidths)
    ours_s, plain_s = (statistics.median(times[name]) for name in ('ours', 'plain'))
    kernels: dict[str, Any] = {}
    if fused:
        unfused_s = statistics.median(times['ours_without_kernels'])
        kernels = {
            'without_kernels_seconds': unfused_s,
            'kernels_speedup_ratio': unfused_s / ours_s,
            'same_codes_without_kernels': (results['ours'] == results['ours_without_kernels']).float().mean().item(),
            'same_first_codes_without_kernels': (results['ours'][:, 0] == results['ours_without_kernels'][:, 0])
            .float()
            .mean()
            .item(),
            'launches_per_code_without_kernels': launches(ours_plain, codes),
        }
    return {
        'size': f'GPT-{size}',
        'kernels': fused and not (STEP.failed or DRAW.failed),
        **kernels,
        'launches_per_code': launches(ours, codes),
        'batch': batch,
        'codes': codes,
        'dtype': str(dtype).removeprefix('torch.'),
        'ours_seconds': ours_s,
        'plain_seconds': plain_s,
        'speedup_ratio': statistics.median(p / o for o, p in zip(times['ours'], times['plain'], strict=True)),
        'limit_seconds': limit,
        'times_the_limit': ours_s / limit,
        'fraction_of_bandwidth': limit / ours_s,
        'copy_gigabytes_per_second': statistics.median(bandwidths) / 1e9,
        'images_per_second': batch / ours_s,
        'ms_per_image': 1000 * ours_s / batch,
        'same_codes': agreement,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    parser.add_argument('--sizes', nargs='+', choices=SIZES, help='model sizes; default: B on a CPU, L and XL on a GPU')
    parser.add_argument('--batches', nargs='+', type=int, help='batch sizes; default: 2 on a CPU, 1 and 64 on a GPU')
    parser.add_argument('--codes', type=int, help='codes per image; default: 64 on a CPU, 256 on a GPU')
    parser.add_argument('--repeats', type=int, default=3, help='measured repeats; default %(default)s')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='CPU threads; default %(default)s')
    parser.add_argument(
        '--no-compile', action='store_true', help='on a GPU: do not compile the steps or use CUDA graphs'
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    on_gpu = device.type == 'cuda'
    rows = [
        measure(
            size, batch, args.codes or (256 if on_gpu else 64), device, args.repeats, on_gpu and not args.no_compile
        )
        for size in args.sizes or (['L', 'XL'] if on_gpu else ['B'])
        for batch in args.batches or ([1, 64] if on_gpu else [2])
    ]
    machine = torch.cuda.get_device_name() if on_gpu else f'CPU, {args.threads} threads'
    document = {'task': 'sampling with classifier-free guidance', 'machine': machine, 'torch': torch.__version__}
    if args.json:
        print(json.dumps({**document, 'rows': rows}, indent=2))
        return
    print(machine)
    for row in rows:
        print(
            f'{row["size"]} batch {row["batch"]}, {row["codes"]} codes: {row["ours_seconds"]:.2f} s, plain '
            f'{row["plain_seconds"]:.2f} s ({row["speedup_ratio"]:.2f} times), {row["times_the_limit"]:.2f} times the limit; '
            f'{row["images_per_second"]:.2f} images/s, {row["ms_per_image"]:.0f} ms/image'
        )


if __name__ == '__main__':
    main()
