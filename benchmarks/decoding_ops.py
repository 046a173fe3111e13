#!/usr/bin/env python
"""The kernels of decoding against float64 and against plain torch: their errors, their draws, their time, and the codes of a
whole model.

Each operator has the shapes of GPT-L at batch 1 and 64 with guidance. Codes follow one another, so a draw that falls the other
way changes the rest of its image. So codes with and without kernels are compared up to the first that differs: there the draw's
number must lie as close to the border between two tokens as the difference of the logits allows.

    FVQ_KERNELS=all python benchmarks/decoding_ops.py --json            # on a GPU
    FVQ_KERNELS=all TRITON_INTERPRET=1 python benchmarks/decoding_ops.py --json --tiny    # in Triton's interpreter
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.sampling import build, measure, without_kernels
from fvq_core.ops.kernels import interpreted
from fvq_generators import LlamaGen
from fvq_generators.ops.decode_attention import decode_attention
from fvq_generators.ops.draw import DRAW, draw_token
from fvq_generators.ops.few_rows import STEP
from fvq_generators.ops.projection import guided_logits, project, project_qkv
from fvq_generators.sampling import Sampler, uniforms

FILTERS = [(1.0, 0, 1.0), (0.7, 0, 1.0), (1.0, 100, 1.0), (1.0, 0, 0.9), (1.3, 50, 0.6)]


def step_operators(
    rows: int, D: int, HD: int, V: int, T: int, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """Each operator of a step as a function of the first `count` rows, in a dtype."""
    torch.manual_seed(0)
    hidden, H = -(-8 * D // 3 // 256) * 256, D // HD

    def normal(*sizes: int, std: float = 1.0) -> Tensor:
        return (torch.randn(sizes) * std).to(device, dtype)

    x, wide, gain, residual = normal(rows, D), normal(rows, hidden), normal(D), normal(rows, D)
    weights = [normal(out, into, std=into**-0.5) for out, into in ((3 * D, D), (2 * hidden, D), (D, hidden), (V, D))]
    keys, values, q = normal(2, rows, H, T, HD), normal(2, rows, H, T, HD), normal(rows, H, HD)
    angles = torch.randn(HD // 2)
    table = torch.stack([angles.cos(), angles.sin()], -1).to(device)
    position, scale = torch.tensor([T // 2], device=device), torch.tensor([2.0], device=device)

    def qkv(count: int, to: torch.dtype) -> Tensor:
        cache = [part[:, :count].to(to, copy=True) for part in (keys, values)]
        operands = x[:count].to(to), weights[0].to(to), gain.to(to)
        out = project_qkv(*operands, 1e-5, table.to(torch.promote_types(to, torch.float32)), position, *cache, 1)
        return torch.cat([out, *(part[1, :, :, T // 2] for part in cache)], 1)

    def attention(count: int, to: torch.dtype) -> Tensor:
        return decode_attention(q[:count].to(to), keys[:, :count].to(to), values[:, :count].to(to), position, None, 1)

    def gated(count: int, to: torch.dtype) -> Tensor:
        return project(x[:count].to(to), weights[1].to(to), gain.to(to), 1e-5, None, True)

    def added(count: int, to: torch.dtype) -> Tensor:
        return project(wide[:count].to(to), weights[2].to(to), None, 0.0, residual[:count].to(to), False)

    def logits(count: int, to: torch.dtype) -> Tensor:
        both = torch.cat([x[:count], x[-count:]]).to(to)
        return guided_logits(both, gain.to(to), 1e-5, weights[3].to(to), scale)

    return {f.__name__: f for f in (qkv, attention, gated, added, logits)}


def milliseconds(function: Callable[[], Any], device: torch.device) -> float:
    """Of one call; on a GPU of one replay of a CUDA graph, so that launching does not count."""
    function()
    if device.type != 'cuda':
        start = time.perf_counter()
        function()
        return 1000 * (time.perf_counter() - start)
    function()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    graph.replay()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(100):
        graph.replay()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 100


def compare_steps(rows: int, sizes: dict[str, int], dtype: torch.dtype, device: torch.device) -> list[dict[str, Any]]:
    """Errors against float64, relative to the largest result, and whether a row is the same without the others."""
    found = []
    for name, function in step_operators(rows, dtype=dtype, device=device, **sizes).items():
        got = function(rows, dtype)
        alone = torch.equal(function(1, dtype), got[:1]) if name != 'logits' or rows == 1 else None
        with without_kernels():
            exact, plain = function(rows, torch.float64), function(rows, dtype)
        largest = exact.abs().max()
        errors = [((each.double() - exact).abs().max() / largest).item() for each in (got, plain)]
        found.append(dict(op=name, rows=rows, error=errors[0], plain_error=errors[1], same_in_any_batch=alone))
    return found


def compare_draws(rows: int, V: int, device: torch.device) -> list[dict[str, Any]]:
    """Tokens that differ from the same integers in plain torch on the CPU, and the time beside `Sampler` without kernels."""
    torch.manual_seed(1)
    logits, numbers = torch.randn(rows, V) * 3, torch.rand(rows, dtype=torch.float64)
    logits[:, ::7] = logits[:, ::7].round()
    found = []
    for filters in FILTERS:
        here, sampler = (logits.to(device), numbers.to(device)), Sampler(*filters)
        got, ours_ms = draw_token(*here, *filters).cpu(), milliseconds(lambda: sampler(*here), device)  # noqa: B023 - called at once
        with without_kernels():
            wrong = (draw_token(logits, numbers, *filters) != got).sum().item()
            plain_ms = milliseconds(lambda: sampler(*here), device)  # noqa: B023 - called at once
        found.append(dict(filters=filters, rows=rows, wrong=wrong, ms=ours_ms, times_plain=plain_ms / ours_ms))
    return found


class Watched:
    """A sampler that keeps its logits."""

    def __init__(self) -> None:
        self.logits: list[Tensor] = []

    def __call__(self, logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
        self.logits.append(logits_BV.double())
        return Sampler()(logits_BV, uniform_B)


def compare_codes(generator: LlamaGen, batch: int, codes: int) -> dict[str, Any]:
    """Codes with kernels in batch 1 and in a larger one, and beside those without kernels up to the first that differs."""
    device, watched = generator.head.weight.device, (Watched(), Watched())
    classes, seeds, scale = torch.arange(batch, device=device), list(range(batch)), 2.0
    fused = generator.sample(classes, cfg_scale=scale, seeds=seeds, pick=watched[0]).indices_BL
    single = generator.sample(classes[-1:], cfg_scale=scale, seeds=seeds[-1:], pick=Sampler()).indices_BL
    with without_kernels():
        plain = generator.sample(classes, cfg_scale=scale, seeds=seeds, pick=watched[1]).indices_BL
    numbers, apart, outside, differing = uniforms(seeds, codes).to(device), 0.0, 0, 0
    for row in range(batch):
        for n in range(codes):
            ours, theirs = (each.logits[n][row] for each in watched)
            difference = (ours - theirs).abs().max().item()
            apart = max(apart, difference / theirs.abs().max().item())
            if fused[row, n] == plain[row, n]:
                continue
            # Logits that move by d move no cumulative share by more than tanh(d / 2); 1e-6 is float32's softmax.
            shares = theirs.softmax(-1).cumsum(-1)
            token = fused[row, n]
            below = shares[token - 1] if token > 0 else shares.new_zeros(())
            distance = max((below - numbers[row, n]).item(), (numbers[row, n] - shares[token]).item())
            outside += distance > torch.tensor(difference / 2).tanh().item() + 1e-6
            differing += 1
            break
    return {
        'batch': batch,
        'same_in_batch_1': torch.equal(single, fused[-1:]),
        'images_with_other_codes': differing,
        'no_near_tie': outside,
        'logits_apart': apart,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON on one line')
    parser.add_argument('--tiny', action='store_true', help='small sizes, for the Triton interpreter')
    parser.add_argument('--repeats', type=int, default=2, help='repeats of sampling; default %(default)s')
    args = parser.parse_args()
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    dtype = torch.bfloat16 if device.type == 'cuda' else torch.float32
    if interpreted():
        from tests import triton_interpreter as _  # noqa: F401 - mends the interpreter

    sizes = dict(D=64, HD=16, V=256, T=9) if args.tiny else dict(D=1024, HD=64, V=16384, T=257)
    small, large, codes, size = (1, 3, 4, 'tiny') if args.tiny else (1, 64, 256, 'L')
    ran = STEP.enabled(device) and DRAW.enabled(device)
    compiled = device.type == 'cuda'
    document = {
        'dtype': str(dtype).removeprefix('torch.'),
        'step': [row for batch in (small, large) for row in compare_steps(2 * batch, sizes, dtype, device)],
        'draw': [row for batch in (small, large) for row in compare_draws(batch, sizes['V'], device)],
        'codes': compare_codes(build(size, codes, device, dtype), large, codes),
        'rows': [measure(size, batch, codes, device, args.repeats, compiled) for batch in (small, large)],
        'kernels': ran and not (STEP.failed or DRAW.failed),
    }
    print(json.dumps(document, indent=None if args.json else 2))


if __name__ == '__main__':
    main()
