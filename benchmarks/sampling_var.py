#!/usr/bin/env python
"""Sampling of VAR and Infinity against plain loops, side by side in one run.

A plain loop has the same weights and draws the same codes from the same random numbers. VAR's does what the release does: it
grows keys and values by concatenation, computes each block's modulation of the condition again at every scale, reads the
whole batch twice through the head and combines the logits, and sorts all of them for top-p. Infinity's has no cache
(`plain_infinity.py`). Attention is torch's in all.

    python benchmarks/sampling_var.py --json                # CPU: d8, batch 8 with guidance, 680 codes of 16,384
    python benchmarks/sampling_var.py --depths 16           # on a GPU: d16 in bfloat16
    python benchmarks/sampling_var.py --infinity configs/generation/infinity_layer12_t2i.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.plain_infinity import PlainInfinity, build_infinity
from benchmarks.sampling import seconds
from fvq_core.codes import CodeLayout, Codes, Grid
from fvq_generators import VAR
from fvq_generators.next_scale import NextScaleGenerator
from fvq_generators.sampling import uniforms
from fvq_quantizers import MultiScaleQuantizer

SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
CFG_SCALE, TOP_K, TOP_P = 2.5, 900, 0.96


def build(depth: int, codebook_size: int, device: torch.device, dtype: torch.dtype) -> tuple[VAR, MultiScaleQuantizer]:
    """A generator of the published proportions with random weights, which cost the same, and a quantizer."""
    torch.manual_seed(0)
    codes = dict(
        type='VectorQuantizer', codebook_size=codebook_size, code_dim=32, init=dict(type='NormalInit', std=1.0)
    )
    quantizer = MultiScaleQuantizer(codes, SCALES).eval().to(device)
    layout = cast(CodeLayout, quantizer.layout(Grid(SCALES[-1], SCALES[-1])))
    with torch.device(device):
        generator = VAR(layout, 32, 64 * depth, depth, depth, gate_init=1.0, head_init=10.0)
    generator.bind(quantizer)
    return generator.to(dtype).eval(), quantizer


class Plain:
    """The plain loop."""

    def __init__(self, generator: VAR, quantizer: MultiScaleQuantizer) -> None:
        self.generator, self.quantizer = generator, quantizer

    def block(self, block: Any, x: Tensor, cond: Tensor, cache: list[Any], layer: int) -> Tensor:
        parts = F.linear(F.silu(cond), block.modulation.linear.weight, block.modulation.linear.bias)
        gate1, gate2, scale1, scale2, shift1, shift2 = parts.view(len(x), 1, 6, -1).unbind(2)
        attention, heads = block.attention, block.attention.heads
        h = F.layer_norm(x, x.shape[-1:], eps=1e-6).mul(scale1.add(1)).add_(shift1)
        bias = torch.cat([attention.q_bias, torch.zeros_like(attention.q_bias), attention.v_bias])
        q, k, v = F.linear(h, attention.qkv.weight, bias).view(*h.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
        scale = attention.log_scale_H.clamp_max(4.605170185988092).exp().view(1, -1, 1, 1)
        q, k = F.normalize(q, dim=-1).mul(scale), F.normalize(k, dim=-1)
        if cache[layer] is not None:
            k, v = torch.cat([cache[layer][0], k], 2), torch.cat([cache[layer][1], v], 2)
        cache[layer] = (k, v)
        out = F.scaled_dot_product_attention(q.to(v), k.to(v), v, scale=1.0).transpose(1, 2).reshape(h.shape)
        x = x + attention.out(out).mul_(gate1)
        h = F.layer_norm(x, x.shape[-1:], eps=1e-6).mul(scale2.add(1)).add_(shift2)
        return x + block.ffn.outer(F.gelu(block.ffn.inner(h), approximate='tanh')).mul(gate2)

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        logits = logits.flatten(0, 1)
        logits.masked_fill_(
            logits < logits.topk(TOP_K, largest=True, sorted=False)[0].amin(-1, keepdim=True), -torch.inf
        )
        ordered, order = logits.sort(-1, descending=False)
        remove = ordered.softmax(-1).cumsum_(-1) <= 1 - TOP_P
        remove[..., -1:] = False
        logits.masked_fill_(remove.scatter(-1, order, remove), -torch.inf)
        cumulative = logits.softmax(-1).double().cumsum(-1)  # drawn as ours are, so that the codes can be compared
        return torch.searchsorted(cumulative, uniform.flatten()[:, None] * cumulative[:, -1:], right=True)

    @torch.no_grad()
    def sample(self, classes: Tensor, uniforms_BL: Tensor) -> Tensor:
        generator, codebook, B = self.generator, self.quantizer.codebook(), len(classes)
        cond = generator.condition(torch.cat([classes, torch.full_like(classes, generator.condition.num_classes)]))
        cache: list[Any] = [None] * len(generator.blocks)
        total = torch.zeros(B, codebook.shape[1], SCALES[-1], SCALES[-1], device=classes.device)
        x, tokens, start = torch.empty(2 * B, 0, codebook.shape[1], device=classes.device), [], 0
        for number, side in enumerate(SCALES):
            h = generator.tokens(x, cond, number)
            for layer, block in enumerate(generator.blocks):
                h = self.block(block, h, cond, cache, layer)
            logits, t = generator.logits(generator.norm(h, cond)), (CFG_SCALE - 1) * number / (len(SCALES) - 1)
            logits = (1 + t) * logits[:B] - t * logits[B:]
            tokens.append(self.draw(logits, uniforms_BL[:, start : start + side**2]).view(B, -1))
            start += side**2
            code = codebook[tokens[-1]].transpose(1, 2).reshape(B, -1, side, side)
            total, following = self.quantizer.advance(total, code, number)
            x = following.flatten(2).transpose(1, 2).repeat(2, 1, 1)
        return torch.cat(tokens, 1)


def measure_var(depth: int, codebook_size: int, batch: int, device: torch.device, repeats: int) -> dict[str, Any]:
    """A VAR beside its plain loop."""
    generator, quantizer = build(depth, codebook_size, device, dtype_of(device))
    plain, classes = Plain(generator, quantizer), torch.arange(batch, device=device)
    settings = dict(cfg_scale=CFG_SCALE, top_k=TOP_K, top_p=TOP_P)
    found = measure(generator, classes, settings, lambda drawn: plain.sample(classes, drawn), repeats)
    return {'size': f'VAR-d{depth}', 'codebook_size': codebook_size, **found}


def measure_infinity(path: str, small: bool, batch: int, device: torch.device, repeats: int) -> dict[str, Any]:
    """The generator of a config, with its sampling settings, on random features of texts beside its plain loop."""
    generator, settings = build_infinity(path, small, device, dtype_of(device))
    assert generator.caption_shape is not None
    captions = torch.randn(batch, *generator.caption_shape, generator=torch.Generator().manual_seed(0)).to(device)
    plain = PlainInfinity(generator, generator.Sampling.of(settings))
    found = measure(generator, captions, settings, lambda drawn: plain.sample(captions, drawn), repeats)
    return {'size': Path(path).stem, 'codebook_size': 2**generator.code_dim, **found}


def dtype_of(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == 'cpu' else torch.bfloat16


def measure(
    generator: NextScaleGenerator,
    cond: Tensor,
    settings: dict[str, Any],
    plain: Callable[[Tensor], Tensor],
    repeats: int,
) -> dict[str, Any]:
    """Seconds of ours and of the plain loop, in turns."""
    device, batch, seeds = cond.device, len(cond), list(range(len(cond)))
    drawn = uniforms(seeds, generator.layout.length).to(device)
    results: dict[str, Tensor] = {}

    def ours() -> None:
        results['ours'] = cast(Codes, generator.sample(cond, seeds=seeds, **settings)).indices_BL

    def theirs() -> None:
        results['plain'] = plain(drawn)

    if device.type == 'cuda':
        ours()
        theirs()
    times, cpu_times = [], []
    for _ in range(repeats):
        began = time.process_time()
        ours_s = seconds(ours, device)
        between = time.process_time()
        times.append((ours_s, seconds(theirs, device)))
        cpu_times.append((between - began, time.process_time() - between))
    ours_s, plain_s = (statistics.median(each) for each in zip(*times, strict=True))
    ours_cpu, plain_cpu = (statistics.median(each) for each in zip(*cpu_times, strict=True))
    same, first = results['ours'] == results['plain'], generator.pyramid.lengths[0] * generator.layout.slots
    return {
        'batch': batch,
        'dtype': str(generator.head.weight.dtype).removeprefix('torch.'),
        'ours_seconds': ours_s,
        'plain_seconds': plain_s,
        'speedup_ratio': statistics.median(theirs / ours for ours, theirs in times),
        'ours_cpu_seconds': ours_cpu,
        'plain_cpu_seconds': plain_cpu,
        'cpu_ratio': plain_cpu / ours_cpu,  # of a busy machine
        'images_per_second': batch / ours_s,
        'same_codes': same.float().mean().item(),
        'same_first_codes': same[:, :first].float().mean().item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    parser.add_argument(
        '--depths',
        nargs='+',
        type=int,
        help='number of blocks, with 64 channels and a head per block; default: 8 on a CPU, 16 on a GPU',
    )
    parser.add_argument('--codebook-sizes', nargs='+', type=int, default=[16384], help='codebook sizes; default 16384')
    parser.add_argument(
        '--infinity',
        nargs='+',
        metavar='CONFIG',
        help='measure the text-to-image Infinity of each config instead of VAR',
    )
    parser.add_argument('--small', action='store_true', help='Infinity at the size of tools/train.py --smoke')
    parser.add_argument('--batch', type=int, default=8, help='images per batch; default %(default)s')
    parser.add_argument('--repeats', type=int, default=3, help='measured repeats; default %(default)s')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='CPU threads; default %(default)s')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if args.infinity:
        rows = [measure_infinity(path, args.small, args.batch, device, args.repeats) for path in args.infinity]
    else:
        rows = [
            measure_var(depth, size, args.batch, device, args.repeats)
            for depth in args.depths or [16 if device.type == 'cuda' else 8]
            for size in args.codebook_sizes
        ]
    machine = torch.cuda.get_device_name() if device.type == 'cuda' else f'CPU, {args.threads} threads'
    if args.json:
        task = 'next-scale sampling with guidance' + ('' if args.infinity else ', top-k 900, top-p 0.96')
        print(json.dumps({'task': task, 'machine': machine, 'torch': torch.__version__, 'rows': rows}, indent=2))
        return
    print(machine)
    for row in rows:
        print(
            f'{row["size"]} batch {row["batch"]}, {row["codebook_size"]} codes: {row["ours_seconds"]:.2f} s, plain '
            f'{row["plain_seconds"]:.2f} s ({row["speedup_ratio"]:.2f} times), {row["images_per_second"]:.2f} images/s'
        )


if __name__ == '__main__':
    main()
