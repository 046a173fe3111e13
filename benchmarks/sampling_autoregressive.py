"""Sampling of the autoregressive generators against plain loops in the style of their releases, in one run.

    python benchmarks/sampling_autoregressive.py --threads 1 --json

Each loop is written plainly and does what the release does at each step: VQGAN's and RAR's concatenate the cache (VQGAN's all
of it at once), IBQ's, Open-MAGVIT2's and RandAR's attend to all places of a static one and expand its heads, those with
adaptive norms compute them again, Open-MAGVIT2's makes its inner caches anew, RQ-Transformer's embeds all codes each time.
ViT-VQ's loop recomputes the image for each code, because the release's cache draws from another model; BAR's does too, to say
what a cache saves, and draws the bits of a code with our head. Weights are random and shared, numbers and codes the same;
RandAR is also compared with LlamaGen of its size, code by code."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.product_share import product_share
from fvq_core.registry import GENERATORS, QUANTIZERS
from fvq_generators.layers.stack_embedding import look_up
from fvq_generators.parallel_decoding import step_sizes
from fvq_generators.sampling import draw, filter_logits, uniforms

CPU_TIME = '--cpu-time' in sys.argv  # what other work on the machine does not change
DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
SIZES = {
    'L': dict(dim=1024, depth=24, heads=16),
    'B24': dict(dim=768, depth=24, heads=12),  # BAR-B
    'B': dict(dim=768, depth=12, heads=12),
    'tiny': dict(dim=64, depth=2, heads=4),
}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    'MinGPT': ({}, dict(top_k=600, top_p=0.92)),
    'IBQTransformer': ({}, dict(cfg_scale=2.25, temperature=1.1)),
    'OpenMAGVIT2Transformer': (dict(inner_depth=1), dict(cfg_scale=1.9, second_cfg_scale=2.0)),
    'ViTVQTransformer': ({}, {}),
    'RandAR': ({}, dict(cfg_scale=3.4)),
    'RAR': ({}, dict(cfg_scale=16.0, cfg_power=2.75)),
    'BAR': ({}, dict(cfg_scale=5.0, temperature=2.5)),
    'RQTransformer': (dict(code_dim=256, head_depth=4), dict(top_p=0.92)),
}


class PlainAttention:
    """Attention over a cache that is concatenated, or over all places of a static one."""

    def __init__(self, rows: int, heads: int, head_dim: int, length: int, static: bool) -> None:
        self.heads, self.length, self.static = heads, length, static
        shape = (rows, heads, length if static else 0, head_dim)
        self.k, self.v = torch.zeros(shape), torch.zeros(shape)

    def __call__(self, attention: Any, x: Tensor, position: int, rotations: Tensor | None) -> Tensor:
        B, L, D = x.shape
        weights, biases = attention.qkv.weight.chunk(3), (None,) * 3
        if attention.qkv.bias is not None:
            biases = attention.qkv.bias.chunk(3)
        q, k, v = (F.linear(x, weight, bias) for weight, bias in zip(weights, biases, strict=True))
        q, k, v = (part.view(B, L, self.heads, -1) for part in (q, k, v))
        q, k = attention.q_norm(q), attention.k_norm(k)
        if rotations is not None and rotations.shape[-1] == 4:  # BAR: half of the queries look to the next code
            own, ahead = rotations.split(2, dim=-1)
            first, second = q.chunk(2, dim=2)
            q, k = torch.cat([plain_rotate(first, own), plain_rotate(second, ahead)], dim=2), plain_rotate(k, own)
        elif rotations is not None:
            q, k = plain_rotate(q, rotations), plain_rotate(k, rotations)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        mask = torch.tril(torch.ones(self.length, self.length, dtype=torch.bool)).repeat(B, 1, 1)
        mask = mask[:, None, position : position + L]
        if self.static:
            places = torch.arange(position, position + L)
            self.k[:, :, places], self.v[:, :, places] = k, v
            keys, values = (part.repeat_interleave(1, dim=1) for part in (self.k, self.v))
            out = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        else:
            self.k, self.v = torch.cat([self.k, k], dim=2), torch.cat([self.v, v], dim=2)
            scores = q @ self.k.transpose(-2, -1) * q.shape[-1] ** -0.5
            scores = scores.masked_fill(~mask[..., : self.k.shape[2]], -torch.inf)
            out = scores.softmax(-1) @ self.v
        return plain_linear(attention.out, out.transpose(1, 2).contiguous().view(B, L, D))


def plain_rotate(x: Tensor, rotations: Tensor) -> Tensor:
    pairs = x.float().reshape(*x.shape[:-1], -1, 2)
    cos, sin = (part.unsqueeze(-2) for part in rotations.unbind(-1))
    a, b = pairs.unbind(-1)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(3).type_as(x)


def plain_norm(norm: Any, x: Tensor) -> Tensor:
    if isinstance(norm, nn.LayerNorm):
        return norm(x)
    full = x.float()
    return (full * torch.rsqrt(full.pow(2).mean(-1, keepdim=True) + norm.eps)).type_as(x) * norm.weight


def plain_linear(layer: Any, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight, layer.bias)


def plain_ffn(ffn: Any, x: Tensor) -> Tensor:
    if hasattr(ffn, 'gate_up'):
        weights, bias = ffn.gate_up.weight.chunk(2), ffn.gate_up.bias
        biases = (None, None) if bias is None else bias.chunk(2)
        gate, up = (F.linear(x, *each) for each in zip(weights, biases, strict=True))
        return plain_linear(ffn.out, F.silu(gate) * up)
    if isinstance(ffn, nn.Sequential):
        return plain_linear(ffn[2], ffn[1](plain_linear(ffn[0], x)))
    return plain_linear(ffn.outer, F.gelu(plain_linear(ffn.inner, x)))


def plain_modulation(modulation: Any, cond: Tensor) -> tuple[Tensor, ...]:
    return plain_linear(modulation.linear, F.silu(cond)).unflatten(-1, (modulation.parts, -1)).unbind(2)


class Plain:
    """Blocks, norm and cache of one generator."""

    def __init__(self, generator: Any, rows: int, length: int, static: bool, blocks: Any = None) -> None:
        self.generator, self.blocks = generator, generator.blocks if blocks is None else blocks
        self.caches = [
            PlainAttention(rows, block.attention.heads, block.attention.head_dim, length, static)
            for block in self.blocks
        ]

    def __call__(self, x: Tensor, position: int, rotations: Tensor | None = None, cond: Tensor | None = None) -> Tensor:
        for block, cache in zip(self.blocks, self.caches, strict=True):
            y = plain_norm(block.attention_norm, x)
            if cond is None:
                x = x + cache(block.attention, y, position, rotations)
                x = x + plain_ffn(block.ffn, plain_norm(block.ffn_norm, x))
                continue
            gate1, gate2, scale1, scale2, shift1, shift2 = plain_modulation(block.modulation, cond)
            x = x + gate1 * cache(block.attention, y * (1 + scale1) + shift1, position, rotations)
            y = plain_norm(block.ffn_norm, x)
            x = x + gate2 * plain_ffn(block.ffn, y * (1 + scale2) + shift2)
        return x


def seconds(function: Callable[[], Any]) -> float:
    """Of one call."""
    clock = time.process_time if CPU_TIME else time.perf_counter
    start = clock()
    function()
    if DEVICE.type == 'cuda':
        torch.cuda.synchronize()
    return clock() - start


def both(generator: Any, classes: Tensor) -> Tensor:
    return torch.cat([classes, generator.condition.null(classes)])


def guided(logits: Tensor, scale: float) -> Tensor:
    conditional, unconditional = logits.chunk(2)
    return unconditional + (conditional - unconditional) * scale


def min_gpt(generator: Any, classes: Tensor, numbers: Tensor, top_k: int, top_p: float) -> Tensor:
    L = numbers.shape[1]
    plain, codes = Plain(generator, len(classes), L, static=False), []
    x = generator.condition_tokens(classes)
    pasts: list[Tensor] = []
    for number in range(L):
        x = plain(x, number)
        pasts.append(torch.stack([torch.stack([cache.k[:, :, -1:], cache.v[:, :, -1:]]) for cache in plain.caches]))
        torch.cat(pasts, dim=-2)  # the release joins the whole cache at each step
        logits = plain_linear(generator.head, generator.norm(x))[:, -1]
        codes.append(draw(filter_logits(logits, top_k, top_p), numbers[:, number]))
        x = generator.embed(codes[-1][:, None], number)
    return torch.stack(codes, dim=1)


def ibq(generator: Any, classes: Tensor, numbers: Tensor, cfg_scale: float, temperature: float) -> Tensor:
    L = numbers.shape[1]
    plain, codes = Plain(generator, 2 * len(classes), 1 + L, static=True), []
    x = cond = generator.condition(both(generator, classes))
    for number in range(L):
        x = plain(x, number, generator.rotations[number : number + 1], cond)
        scale, shift = plain_modulation(generator.norm.modulation, cond)
        x = plain_norm(generator.norm.norm, x) * (1 + scale) + shift
        logits = guided(plain_linear(generator.head, x)[:, -1], cfg_scale)
        codes.append(draw(logits / temperature, numbers[:, number]))
        x = generator.code_embedding(codes[-1].repeat(2))[:, None]
    return torch.stack(codes, dim=1)


def open_magvit2(generator: Any, classes: Tensor, numbers: Tensor, cfg_scale: float, second_cfg_scale: float) -> Tensor:
    L, rows = numbers.shape[1], 2 * len(classes)
    plain, codes = Plain(generator, rows, 1 + L, static=True), []
    x = generator.condition(both(generator, classes))
    for number in range(L):
        x = plain(x, number, generator.rotations[number : number + 1])
        inner, parts = Plain(generator, rows, 1 + L, static=True, blocks=generator.inner_blocks), []
        heads, scales = (generator.head, generator.second_head), (cfg_scale, second_cfg_scale)
        for part, (head, scale) in enumerate(zip(heads, scales, strict=True)):
            x = plain_norm(generator.norm, inner(x, part, generator.rotations[part : part + 1]))
            parts.append(draw(guided(plain_linear(head, x)[:, -1], scale), numbers[:, number, part]))
            x = generator.first_embedding(parts[0].repeat(2))[:, None]
        codes.append(parts[0] + generator.factors[0] * parts[1])
        x = generator.embed(codes[-1].repeat(2)[:, None])
    return torch.stack(codes, dim=1)


def vitvq(generator: Any, classes: Tensor, numbers: Tensor) -> Tensor:
    codes = torch.empty(len(classes), 0, dtype=torch.int64)
    for number in range(numbers.shape[1]):
        plain = Plain(generator, len(classes), 1 + number, static=False)
        x = torch.cat([generator.condition_tokens(classes), generator.embed(codes)], dim=1)
        for block, cache in zip(generator.blocks, plain.caches, strict=True):
            x = x + cache(block.attention, block.token_shift(block.attention_norm(x)), 0, None)
            x = x + plain_ffn(block.ffn, block.ffn_norm(x))
        logits = plain_linear(generator.head, generator.norm(x))[:, -1]
        codes = torch.cat([codes, draw(logits, numbers[:, number])[:, None]], dim=1)
    return codes


def randar(generator: Any, classes: Tensor, numbers: Tensor, cfg_scale: float, steps: int) -> Tensor:
    L = numbers.shape[1] // 2
    order, drawn = numbers[:, L:].argsort(1), numbers[:, :L]
    orders, rows = order.repeat(2, 1), 2 * len(classes)
    plain, codes = Plain(generator, rows, 1 + 2 * L, static=True), torch.empty_like(order)
    x, turns = generator.class_token(both(generator, classes))
    done = position = 0
    for size in step_sizes(L, steps):
        part = slice(done, done + size)
        asked, asked_turns = generator.instructions(orders[:, part])
        fed, fed_turns = torch.cat([x, asked], 1), torch.cat([turns, asked_turns], 1)
        logits = plain_linear(generator.head, plain_norm(generator.norm, plain(fed, position, fed_turns)))[:, -size:]
        logits = guided(logits, 1 + (cfg_scale - 1) * done / L)
        codes[:, part] = draw(logits.flatten(0, 1), drawn[:, part].flatten()).view(len(classes), -1)
        position, done = position + x.shape[1] + 1, done + size
        x, turns = generator.pairs(codes[:, part].repeat(2, 1), orders[:, part])
        x, turns = x[:, 1:], turns[:, 1:]
    return torch.empty_like(codes).scatter_(1, order, codes)


def rar(generator: Any, classes: Tensor, numbers: Tensor, cfg_scale: float, cfg_power: float) -> Tensor:
    L, labels = numbers.shape[1], both(generator, classes)
    plain, codes = Plain(generator, len(labels), 2 + L, static=False), torch.empty(len(classes), 0, dtype=torch.int64)
    guidance = generator.Sampling(cfg_scale=cfg_scale, cfg_power=cfg_power)
    for number in range(L):
        start = 0 if not number else number + 1
        class_B1D = generator.condition(labels)
        x = generator.first_tokens(class_B1D, torch.zeros(len(labels), 1, dtype=torch.int64))
        x = torch.cat([x, generator.embed(codes.repeat(2, 1))], dim=1)  # the release embeds all and takes the last
        cond = class_B1D + generator.place_embedding[: x.shape[1]]
        x, cond = x[:, start:], cond[:, start:]
        scale, shift = plain_modulation(generator.norm.modulation, cond)
        x = (generator.norm.norm(plain(x, start, None, cond)) * (1 + scale) + shift)[:, -1]
        logits = guided(plain_linear(generator.head, x), guidance.scale_at(number, L))
        codes = torch.cat([codes, draw(logits, numbers[:, number])[:, None]], dim=1)
    return codes


def bar(generator: Any, classes: Tensor, numbers: Tensor, **settings: float) -> Tensor:
    L, T, labels = numbers.shape[1], generator.condition.tokens, both(generator, classes)
    sampling, codes = generator.Sampling(**settings), torch.empty(len(classes), 0, dtype=torch.int64)
    guidance, pick = generator.guidance_of(sampling), generator.picker(sampling)
    for number in range(L):
        plain = Plain(generator, len(labels), T + number, static=False)
        class_B1D = generator.condition(labels)
        x = generator.first_tokens(class_B1D, torch.zeros(len(labels), 1, dtype=torch.int64))
        x = torch.cat([x, generator.embed(codes.repeat(2, 1))], dim=1)
        cond = class_B1D + generator.place_embedding[: T + number]
        x = plain(x, 0, generator.rotations[: T + number], cond)
        told = plain_linear(generator.head, plain_norm(generator.norm, x))[:, -1]
        scale = torch.full_like(told[:, :1], guidance.scale_at(number, L))
        codes = torch.cat([codes, pick(torch.cat([told, scale], dim=1), numbers[:, number])[:, None]], dim=1)
    return codes


def rq_transformer(generator: Any, classes: Tensor, numbers: Tensor, top_p: float) -> Tensor:
    B, N, slots = len(classes), generator.layout.positions.length, generator.layout.slots
    codes, embedding = torch.zeros(B, N, slots, dtype=torch.int64), generator.embedding
    body = Plain(generator, B, N + 1, static=False, blocks=generator.body)
    for place in range(N):
        for depth in range(slots):
            vectors = look_up(generator.quantizer.codebooks(), codes[:, : place + 1])  # of all codes so far
            if not depth:
                tokens = plain_linear(embedding.body_map, vectors).sum(-2) + generator.positions[: place + 1]
                x = tokens[:, place - 1 : place] if place else generator.condition_tokens(classes)
                context = body(x, place)[:, -1:]
                head = Plain(generator, B, slots, static=False, blocks=generator.head)
            tokens = plain_linear(embedding.head_map, vectors.cumsum(-2))[:, place]
            x = context if not depth else tokens[:, depth - 1 : depth]
            x = head(x + generator.depth_positions[depth], depth)
            logits = plain_linear(generator.classifier.at(depth), generator.classifier.norm(x))[:, -1]
            codes[:, place, depth] = draw(filter_logits(logits, 0, top_p), numbers[:, place * slots + depth])
    return codes.flatten(1)


LOOPS: dict[str, Callable[..., Tensor]] = {
    'MinGPT': min_gpt,
    'IBQTransformer': ibq,
    'OpenMAGVIT2Transformer': open_magvit2,
    'ViTVQTransformer': vitvq,
    'RandAR': randar,
    'RAR': rar,
    'BAR': bar,
    'RQTransformer': rq_transformer,
}


def build(name: str, size: str, side: int, changes: dict[str, Any]) -> Any:
    """A generator with random weights; they cost the same."""
    V = 4096 if size == 'tiny' else 16384
    arguments = dict(factors=(64, V // 64)) if name == 'OpenMAGVIT2Transformer' else {}
    if name == 'BAR' and size == 'tiny':
        arguments = dict(head_width=64)  # 2,048 of every published size
    slots = 4 if name == 'RQTransformer' else 1
    layout = dict(type='Grid', height=side, width=side, codebook_size=[V] * slots)
    torch.manual_seed(0)
    generator = GENERATORS.build(dict(type=name, layout=layout, **SIZES[size], **changes, **arguments))
    for parameter in generator.parameters():
        if parameter.dim() > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    if slots > 1:
        codes = dict(type='VectorQuantizer', codebook_size=V, code_dim=256)
        generator.bind(QUANTIZERS.build(dict(type='ResidualQuantizer', quantizer=codes, depth=slots)).fold().to(DEVICE))
    return generator.eval().to(DEVICE)


@torch.no_grad()
def measure(
    name: str, size: str, batch: int, side: int, repeats: int, profiled: bool = False, compiled: bool = False
) -> dict[str, Any]:
    """Seconds of ours and of the plain loop, in turns."""
    changes, settings = MODELS[name]
    settings = dict(settings, steps=max(1, side * side * 88 // 256)) if name == 'RandAR' else settings
    generator, classes, seeds = build(name, size, side, changes), torch.arange(batch), list(range(batch))
    if name in ('RandAR', 'RQTransformer'):
        numbers = uniforms(seeds, 2 * side * side if name == 'RandAR' else generator.layout.length)
    else:
        numbers = generator.uniforms(seeds)
    classes, numbers = classes.to(DEVICE), numbers.to(DEVICE)
    codes: dict[str, Tensor] = {}
    how = dict(compile=True) if compiled and name != 'RQTransformer' else {}  # whose steps are not compiled

    def ours() -> None:
        codes['ours'] = generator.sample(classes, seeds=seeds, **settings, **how).indices_BL

    def theirs() -> None:
        with DEVICE:  # where the loop makes its tensors
            codes['plain'] = LOOPS[name](generator, classes, numbers, **settings)

    if how:
        ours()  # the first call compiles
    times = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
    result = {
        'model': name,
        'size': size,
        'batch': batch,
        'codes': generator.layout.length,
        'ours_seconds': statistics.median(own for own, _ in times),
        'plain_seconds': statistics.median(other for _, other in times),
        'speedup_ratio': statistics.median(other / own for own, other in times),
        'same_codes': (codes['ours'] == codes['plain']).float().mean().item(),
    }
    if profiled:
        result |= {'ours_product_share': product_share(ours), 'plain_product_share': product_share(theirs)}
    if name == 'RandAR':
        llamagen = build('LlamaGen', size, side, {})
        drawn = [
            seconds(lambda: llamagen.sample(classes, seeds=seeds, cfg_scale=2.0, **how))
            for _ in range(repeats + len(how))
        ]
        result['llamagen_seconds'] = statistics.median(drawn[len(how) :])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    parser.add_argument('--models', nargs='+', choices=MODELS, default=list(MODELS), help='default: all')
    parser.add_argument('--size', choices=SIZES, default='B', help='model size; default %(default)s')
    parser.add_argument('--batch', type=int, default=2, help='images per batch; default %(default)s')
    parser.add_argument('--side', type=int, default=8, help='rows and columns of codes; default %(default)s')
    parser.add_argument('--repeats', type=int, default=3, help='measured repeats; default %(default)s')
    parser.add_argument('--cpu-time', action='store_true', help='measure CPU seconds, for a machine with other work')
    parser.add_argument('--compile', action='store_true', help='compile our steps, if the generator supports it')
    parser.add_argument('--profile', action='store_true', help='also print the share of matrix products in both')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='CPU threads; default %(default)s')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = [
        measure(name, args.size, args.batch, args.side, args.repeats, args.profile, args.compile)
        for name in args.models
    ]
    machine = torch.cuda.get_device_name() if DEVICE.type == 'cuda' else f'CPU, {args.threads} threads'
    if args.json:
        print(json.dumps({'task': 'sampling', 'machine': machine, 'torch': torch.__version__, 'rows': rows}, indent=2))
        return
    print(machine)
    for row in rows:
        also = f'; LlamaGen {row["llamagen_seconds"]:.2f} s' if 'llamagen_seconds' in row else ''
        if args.profile:
            also += f'; products {row["ours_product_share"]:.0%} and {row["plain_product_share"]:.0%} of the time'
        print(
            f'{row["model"]} {row["size"]}, batch {row["batch"]}, {row["codes"]} codes: {row["ours_seconds"]:.2f} s, plain '
            f'{row["plain_seconds"]:.2f} s ({row["speedup_ratio"]:.2f} times), {row["same_codes"]:.0%} the same codes{also}'
        )


if __name__ == '__main__':
    main()
