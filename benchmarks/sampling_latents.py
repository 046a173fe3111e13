#!/usr/bin/env python
"""DiT and MAR against plain loops in the style of their releases, side by side in one run: sampling and a training step.

A plain loop has the same weights and the same noise, so that it draws the same latents. Otherwise it does what the releases do.
DiT: both halves of guidance go through the chain, each with noise of its own, and queries, keys and values meet in scores that
are in memory. MAR: both halves again, and the head computes the modulation of each token in each of its steps; in training it
learns of all tokens, and the mask decides afterwards.

    python benchmarks/sampling_latents.py --threads 1 --cpu-time    # CPU: DiT-XL/2 and MAR-L, a few steps of one image
    python benchmarks/sampling_latents.py --batches 1 32 --json     # on a GPU: in bfloat16

All steps of a DiT cost the same, so a few are timed (`--steps`). Passes of a MAR do not: `--passes` of the published 256,
spread over the image, stand for all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.product_share import product_share
from benchmarks.sampling_autoregressive import DEVICE, seconds
from fvq_core.codes import Latents, Targets
from fvq_core.registry import GENERATORS
from fvq_generators import MAR, DiT, mar
from fvq_generators.diffusion.gaussian_process import GaussianProcess
from fvq_generators.layers import AdaLNBlock, modulate

SD = dict(type='Grid', height=32, width=32, channels=4, scale=0.18215)
KL16 = dict(type='Grid', height=16, width=16, channels=16, scale=0.2325)
SMALL = dict(layout=dict(type='Grid', height=4, width=4, channels=4), dim=32, depth=2, heads=2, steps=20)
SIZES: dict[str, dict[str, Any]] = {
    'DiT-XL': dict(type='DiT', layout=SD),
    'DiT-B': dict(type='DiT', layout=SD, dim=768, depth=12, heads=12),
    'MAR-L': dict(type='MAR', layout=KL16),
    'MAR-B': dict(type='MAR', layout=KL16, dim=768, depth=12, heads=12, head_depth=6, head_width=1024),
    'DiT-tiny': dict(type='DiT', **SMALL),
    'MAR-tiny': dict(type='MAR', head_depth=1, head_width=32, class_tokens=2, **SMALL),
}
SCALE = {'DiT': 1.5, 'MAR': 3.0}
Model = DiT | MAR


def build(size: str) -> Model:
    """A generator with random weights; they cost the same."""
    torch.manual_seed(0)
    with DEVICE:
        model: Model = GENERATORS.build(SIZES[size])
    for name, parameter in model.named_parameters():  # what starts at 0 would hide whether the two loops agree
        if 'condition.table' in name:
            torch.nn.init.normal_(parameter)
        elif any(part in name for part in ('modulation', 'head.weight', 'output.weight')) and parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.02)
    return model.to(torch.float32 if DEVICE.type == 'cpu' else torch.bfloat16).eval()


def plain_step(process: GaussianProcess, output: Tensor, x: Tensor, index: int, noise: Tensor, heat: float) -> Tensor:
    """A step of DDPM; every table is read for every sample, also where the noise is multiplied by 0."""
    t = torch.full((len(x),), index, device=x.device)
    predicted, log_variance = process.split(output, t)
    mean = process.mean(process.data_of(x, t, predicted), x, t)
    return mean + (t != 0).view(-1, *[1] * (x.dim() - 1)) * torch.exp(0.5 * log_variance) * noise * heat


def plain_block(block: AdaLNBlock, x: Tensor, cond: Tensor) -> Tensor:
    """A block whose scores and softmax are in memory, as timm's were at the time of the release."""
    gate1, gate2, scale1, scale2, shift1, shift2 = block.modulation(cond).unbind(2)
    attention: Any = block.attention
    q, k, v = attention.qkv(modulate(block.attention_norm(x), scale1, shift1)).chunk(3, -1)
    q, k, v = (each.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2) for each in (q, k, v))
    attended = (q @ k.transpose(-2, -1) / attention.head_dim**0.5).softmax(-1) @ v
    x = x + gate1 * attention.out(attended.transpose(1, 2).flatten(2))
    return x + gate2 * block.ffn(modulate(block.ffn_norm(x), scale2, shift2))


def plain_dit(model: DiT, cond: Tensor, noises: Tensor, scale: float) -> Tensor:
    """All halves through the chain; guidance on three channels."""
    labels, process = torch.cat([cond, model.condition.null(cond)]), model.process.respaced(len(noises) - 1)
    x = noises[0].repeat(2, 1, 1, 1)
    with patch.object(AdaLNBlock, 'forward', plain_block):
        for number, index in enumerate(reversed(range(len(process.times)))):
            half = x[: len(cond)]
            t = torch.full((len(x),), process.times[index], device=x.device)
            output = model.network(torch.cat([half, half]), t, labels).float()
            first, rest = output[:, :3], output[:, 3:]
            with_class, without = first.chunk(2)
            guided = without + scale * (with_class - without)
            output = torch.cat([torch.cat([guided, guided]), rest], 1)
            noise = torch.cat([noises[number + 1], torch.randn_like(half)])  # the second half's is read by nobody
            x = plain_step(process, output, x, index, noise, 1.0)
    return x[: len(cond)]


def plain_head(
    self: Any, features: Tensor, noise: Any, steps: int, heat: float, without: Tensor, scale: float
) -> Tensor:
    """In place of `DiffusionHead.sample`: every step computes everything."""
    process, both = self.process.respaced(steps), torch.cat([features, without])
    x = noise(0).repeat(2, 1)
    for number, index in enumerate(reversed(range(len(process.times)))):
        half = x[: len(features)]
        t = torch.full((len(x),), process.times[index], device=x.device)
        cond = (self.time(t) + self.condition(both))[:, None]
        h = self.input(torch.cat([half, half]))[:, None]
        for block in self.blocks:
            gate, scale_, shift = plain_map(block.modulation.linear, F.silu(cond)).unflatten(-1, (3, -1)).unbind(2)
            h = h + gate * plain_map(
                block.outer, F.silu(plain_map(block.inner, modulate(block.norm(h), scale_, shift)))
            )
        parts = plain_map(self.norm.modulation.linear, F.silu(cond)).unflatten(-1, (2, -1)).unbind(2)
        output = self.output(modulate(self.norm.norm(h), *parts))[:, 0].float()
        (with_class, other), variance = output[:, : half.shape[1]].chunk(2), output[:, half.shape[1] :]
        guided = other + scale * (with_class - other)
        output = torch.cat([torch.cat([guided, guided]), variance], 1)
        x = plain_step(process, output, x, index, noise(number + 1).repeat(2, 1), heat)
    return x[: len(features)]


def plain_map(linear: torch.nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, linear.weight, linear.bias)


def plain_mar_loss(model: MAR, targets: Targets, cond: Tensor) -> Tensor:
    """The loss of every token, then times the mask."""
    assert targets.latents is not None
    tokens, head = model.patching.split(targets.latents.normalized()), model.head
    hidden = model.draw_hidden(len(tokens), tokens.device)
    features, draws = model.features(tokens, hidden, cond).flatten(0, 1), head.draws
    x = tokens.flatten(0, 1).repeat(draws, 1)
    t, repeated = torch.randint(head.process.steps, (len(x),), device=x.device), features.repeat(draws, 1)
    terms = head.process.losses(lambda noisy, t: head(noisy, t, repeated), x, t, torch.randn_like(x))
    mask = hidden.flatten().repeat(draws)
    return sum(values * mask for values in terms.values()).sum() / mask.sum()


def measure(
    size: str, batch: int, steps: int, passes: int, repeats: int, train: bool, profiled: bool
) -> dict[str, Any]:
    """Seconds of ours and of the plain loop in turns, of sampling and of a training step."""
    model, cond = build(size), torch.arange(batch, device=DEVICE) % 1000
    kind, scale, results = type(model).__name__, SCALE[type(model).__name__], {}
    generator = torch.Generator().manual_seed(0)
    if isinstance(model, DiT):
        noises = torch.randn(steps + 1, batch, *model.layout.shape, generator=generator).to(DEVICE)
        sampling = model.Sampling(cfg_scale=scale, cfg_channels=3, steps=steps)

        def ours() -> None:
            *_, (results['ours'], _) = model.trajectory(noises[0], cond, lambda number: noises[number + 1], sampling)

        def plain() -> None:
            results['plain'] = plain_dit(model, cond, noises, scale)

    else:
        L, C = model.patching.length, model.patching.channels
        every = mar.hidden_counts(L, min(L, mar.MOST_STEPS))
        chosen = [every[(2 * number + 1) * len(every) // (2 * passes)] for number in range(min(passes, len(every)))]
        order = torch.stack([torch.randperm(L, generator=generator) for _ in range(batch)]).to(DEVICE)
        draws = {
            (before, after): torch.randn(batch, before - after, 1 + steps, C, generator=generator).to(DEVICE)
            for before, after in chosen
        }
        sampling = model.Sampling(cfg_scale=scale, steps=len(every), diffusion_steps=steps)

        def draw() -> Tensor:
            noise = iter(draws.values())
            with patch.object(mar, 'hidden_counts', lambda *_: chosen):
                return model.draw(cond, order, lambda _: next(noise), sampling)

        def ours() -> None:
            results['ours'] = draw()

        def plain() -> None:
            with patch.object(type(model.head), 'sample', plain_head):
                results['plain'] = draw()

    row: dict[str, Any] = {'model': size, 'batch': batch, 'steps': steps, 'dtype': str(next(model.parameters()).dtype)}
    with torch.no_grad():
        row |= in_turns('', ours, plain, repeats)
        apart = (results['ours'] - results['plain']).abs().max() / results['plain'].abs().max()
        row['apart'] = apart.item()
        if profiled:
            row |= {'ours_product_share': product_share(ours), 'plain_product_share': product_share(plain)}
    if train:
        row |= training(model, batch, repeats)
    return {**row, 'kind': kind}


def training(model: Model, batch: int, repeats: int) -> dict[str, Any]:
    """A step of training: forward, backward and the gradients' reset."""
    model.train().requires_grad_()
    latents = Latents(torch.randn(batch, *model.layout.shape, device=DEVICE), model.layout)
    targets, cond = Targets(latents=latents), torch.arange(batch, device=DEVICE) % 1000

    def step(plain: bool) -> None:
        torch.manual_seed(0)
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=DEVICE.type != 'cpu'):
            if plain and isinstance(model, MAR):
                loss = plain_mar_loss(model, targets, cond)
            else:
                loss = sum(model.loss(targets, cond).values())
        loss.backward()
        model.zero_grad(set_to_none=True)

    def ours() -> None:
        step(False)

    def plain() -> None:
        with patch.object(AdaLNBlock, 'forward', plain_block):
            step(True)

    return in_turns('training_', ours, plain, repeats)


def in_turns(name: str, ours: Any, plain: Any, repeats: int) -> dict[str, float]:
    """Medians of seconds, and of the ratio within each turn."""
    if DEVICE.type == 'cuda':  # the first call is slow
        ours(), plain()
    times = [(seconds(ours), seconds(plain)) for _ in range(repeats)]
    return {
        f'{name}ours_seconds': statistics.median(own for own, _ in times),
        f'{name}plain_seconds': statistics.median(theirs for _, theirs in times),
        f'{name}speedup_ratio': statistics.median(theirs / own for own, theirs in times),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--json', action='store_true', help='print JSON instead of a table')
    add('--models', nargs='+', choices=SIZES, default=['DiT-XL', 'MAR-L'], help='default: DiT-XL MAR-L')
    add('--batches', nargs='+', type=int, default=[1], help='batch sizes; default 1')
    add(
        '--steps',
        type=int,
        help='diffusion steps; default: DiT 2 on a CPU and 250 on a GPU, head of a MAR 100',
    )
    add('--passes', type=int, default=4, help='decoding passes of a MAR; default %(default)s')
    add('--repeats', type=int, default=3, help='measured repeats; default %(default)s')
    add('--train', action='store_true', help='also measure a training step')
    add('--profile', action='store_true', help='also print the share of matrix products in both')
    add('--cpu-time', action='store_true', help='measure CPU seconds, for a machine with other work')
    add('--threads', type=int, default=torch.get_num_threads(), help='CPU threads; default %(default)s')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for size in args.models:
        few = 2 if DEVICE.type == 'cpu' else 250
        steps = min(args.steps or (100 if size.startswith('MAR') else few), SIZES[size].get('steps', 1000))
        options = (steps, args.passes, args.repeats, args.train, args.profile)
        rows += [measure(size, batch, *options) for batch in args.batches]
    machine = torch.cuda.get_device_name() if DEVICE.type == 'cuda' else f'CPU, {args.threads} threads'
    if args.json:
        print(json.dumps({'task': 'latents', 'machine': machine, 'torch': torch.__version__, 'rows': rows}, indent=2))
        return
    print(machine)
    for row in rows:
        print(
            f'{row["model"]} batch {row["batch"]}, {row["steps"]} steps: {row["ours_seconds"]:.2f} s, plain '
            f'{row["plain_seconds"]:.2f} s ({row["speedup_ratio"]:.2f} times), {row["apart"]:.1e} apart'
        )
        if args.profile:
            print(f'    products: {row["ours_product_share"]:.0%} and {row["plain_product_share"]:.0%} of the time')
        if args.train:
            print(
                f'    training step: {row["training_ours_seconds"]:.2f} s, plain {row["training_plain_seconds"]:.2f} s '
                f'({row["training_speedup_ratio"]:.2f} times)'
            )


if __name__ == '__main__':
    main()
