#!/usr/bin/env python
"""Sampling of MaskGIT's forms against a plain loop in the style of released code, side by side in one run.

The plain loop has the same weights, takes the same steps and draws the same codes. Otherwise it does what is easily written
and what the releases do: a pass with the class and another without it, queries, keys and values by maps of their own, scores
and softmax of attention in memory, the modulation of each block again in each step, logits of all positions and the whole
vocabulary, a softmax for the draw and another for the confidence, known codes drawn and overwritten.

    python benchmarks/sampling_masked.py --json                   # CPU: TiTok-L-32's, MaskGIT's and Halton's base, batch 1
    python benchmarks/sampling_masked.py --batches 1 64           # on a GPU: in bfloat16
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.product_share import product_share
from benchmarks.sampling_autoregressive import seconds
from fvq_core.registry import GENERATORS
from fvq_generators import MaskGIT
from fvq_generators.layers import BidirectionalAttention, SwiGLU, modulate
from fvq_generators.masked.draws import Draws
from fvq_generators.masked.halton import halton_order
from fvq_generators.masked.networks import BERT, ModulatedTransformer
from fvq_generators.sampling import draw

LARGE = dict(type='BERT', dim=768, depth=24, heads=16)
TINY = dict(type='BERT', dim=32, depth=2, heads=2)
FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    'titok-l32': (
        dict(
            layout=dict(type='Sequence', length=32, codebook_size=4096),
            network={**LARGE, 'gelu': 'none', 'transform': False},
            mask_schedule='arccos',
        ),
        dict(steps=8, cfg_scale=5.5, cfg_schedule='linear', choice_temperature=9.5),
    ),
    'maskgit': (
        dict(layout=dict(type='Grid', height=16, width=16, codebook_size=1024), network=LARGE, tied_head=True),
        dict(steps=8, cfg_scale=2.0),
    ),
    'halton-base': (
        dict(
            layout=dict(type='Grid', height=16, width=16, codebook_size=16384),
            network=dict(type='ModulatedTransformer', dim=768, depth=12, heads=12),
            tied_head=True,
            mask_schedule='arccos',
        ),
        dict(steps=32, cfg_scale=1.7, order='halton'),
    ),
    'tiny': (
        dict(layout=dict(type='Grid', height=4, width=4, codebook_size=64), network=TINY),
        dict(steps=4, cfg_scale=2.0),
    ),
}


def build(form: str, device: torch.device, dtype: torch.dtype) -> MaskGIT:
    """A generator with random weights; they cost the same."""
    torch.manual_seed(0)
    with torch.device(device):
        model: MaskGIT = GENERATORS.build(dict(type='MaskGIT', **FORMS[form][0]))
    for name, parameter in model.named_parameters():
        if 'modulation' in name:  # they start at 0, and every image would be alike
            torch.nn.init.normal_(parameter, std=0.02)
    return model.to(dtype).eval()


class Plain:
    """The plain loop."""

    def __init__(self, model: MaskGIT) -> None:
        self.model = model
        self.maps = {
            id(module): (
                module.qkv.weight.chunk(3),
                (None,) * 3 if module.qkv.bias is None else module.qkv.bias.chunk(3),
            )
            for module in model.modules()
            if isinstance(module, BidirectionalAttention)
        }

    def attend(self, module: BidirectionalAttention, x: Tensor) -> Tensor:
        weights, biases = self.maps[id(module)]
        q, k, v = (F.linear(x, weight, bias) for weight, bias in zip(weights, biases, strict=True))
        if module.normalize_qk:
            q, k = (
                (each.float() * torch.rsqrt(each.float().pow(2).mean(-1, keepdim=True) + 1e-5)).type_as(v)
                for each in (q, k)
            )
        q, k, v = (each.view(*each.shape[:2], -1, module.head_dim).transpose(1, 2) for each in (q, k, v))
        scores = q @ k.transpose(-1, -2) / module.head_dim**0.5
        out = scores.softmax(-1) @ v
        return module.out(out.transpose(1, 2).contiguous().view(*x.shape[:2], -1))

    def swiglu(self, module: SwiGLU, x: Tensor) -> Tensor:
        gate, up = (F.linear(x, weight) for weight in module.gate_up.weight.chunk(2))
        return module.out(F.silu(gate) * up)

    def logits(self, indices: Tensor, cond: Tensor) -> Tensor:
        model, network = self.model, self.model.network
        x, label = model.codes(indices), model.condition(cond)
        if isinstance(network, BERT):
            x = network.norm(torch.cat([label, x], dim=1) + network.positions)
            for block in network.blocks:
                x = block.attention_norm(x + self.attend(block.attention, x))
                x = block.ffn_norm(x + block.ffn(x))
            x = network.output(x)[:, 1:]
        else:
            assert isinstance(network, ModulatedTransformer)
            x = torch.cat([x + network.positions, network.registers.repeat(len(x), 1, 1)], dim=1)
            for block in network.blocks:
                gate1, gate2, scale1, scale2, shift1, shift2 = block.modulation(label).unbind(2)
                x = x + gate1 * self.attend(block.attention, modulate(block.attention_norm(x), scale1, shift1))
                x = x + gate2 * self.swiglu(block.ffn, modulate(block.ffn_norm(x), scale2, shift2))
            x = network.norm(x[:, : network.length], label)
        return model.head(x, model.codes)

    @torch.no_grad()
    def sample(self, cond: Tensor, seeds: list[int], options: dict[str, Any]) -> Tensor:
        model, settings = self.model, self.model.Sampling.of(options)
        L, V, device = model.layout.length, model.layout.vocab_size, cond.device
        plan = settings.plan(model.mask_schedule, L)
        draws = Draws(seeds, len(plan), L, 1, device)
        codes = torch.full((len(cond), L), V, device=device)
        order = halton_order(model.layout).to(device) if settings.order == 'halton' else None
        known = 0
        for number, step in enumerate(plan):
            masked = codes == V
            logits = self.logits(codes, cond)
            if step.scale != 1.0:
                nothing = self.logits(codes, model.condition.null(cond))
                logits = nothing + (logits - nothing) * step.scale
            drawn = draw(logits.flatten(0, 1), draws.numbers_BSPL[:, number, 0].flatten()).view_as(codes)
            confidence = logits.softmax(-1).gather(-1, drawn[..., None])[..., 0].log().double()
            confidence = confidence + step.noise * draws.noise(number)
            last = number + 1 == len(plan)
            if order is not None:
                before, known = known, L if last else max(number + 1, int((1 - torch.tensor(step.share)) * L))
                new = torch.zeros_like(masked)
                new[:, order[before:known]] = True
                codes = torch.where(new, drawn, codes)
                continue
            drawn = torch.where(masked, drawn, codes)
            left = 0 if last else max(1, min(int(masked[0].sum()) - 1, int(L * step.share)))
            confidence = torch.where(masked, confidence, torch.inf)
            cut = (
                confidence.sort(dim=1).values[:, left - 1 : left]
                if left
                else torch.full_like(confidence[:, :1], -torch.inf)
            )
            codes = torch.where(confidence <= cut, V, drawn)
        return codes


def measure(
    form: str, batch: int, device: torch.device, repeats: int, steps: int | None, profiled: bool = False
) -> dict[str, Any]:
    """Seconds of ours and of the plain loop, in turns."""
    dtype = torch.float32 if device.type == 'cpu' else torch.bfloat16
    model, options = build(form, device, dtype), FORMS[form][1] | (dict(steps=steps) if steps else {})
    plain, cond, seeds = Plain(model), torch.arange(batch, device=device), list(range(batch))
    results: dict[str, Tensor] = {}

    def ours() -> None:
        results['ours'] = model.sample(cond, seeds=seeds, **options).indices_BL

    def theirs() -> None:
        results['plain'] = plain.sample(cond, seeds, options)

    if device.type == 'cuda' or form == 'tiny':  # the first call is slow
        ours()
        theirs()
    times: dict[str, list[float]] = {'ours': [], 'plain': []}
    for _ in range(repeats):
        times['ours'].append(seconds(ours))
        times['plain'].append(seconds(theirs))
    shares = {
        f'{name}_product_share': product_share(each) for name, each in (('ours', ours), ('plain', theirs)) if profiled
    }
    ours_s, plain_s = (statistics.median(times[name]) for name in ('ours', 'plain'))
    return {
        'form': form,
        'batch': batch,
        'steps': options['steps'],
        'dtype': str(dtype).removeprefix('torch.'),
        'ours_seconds': ours_s,
        'plain_seconds': plain_s,
        'speedup_ratio': statistics.median(p / o for o, p in zip(times['ours'], times['plain'], strict=True)),
        'images_per_second': batch / ours_s,
        'same_codes': (results['ours'] == results['plain']).float().mean().item(),
        **shares,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    parser.add_argument(
        '--forms',
        nargs='+',
        choices=FORMS,
        default=['titok-l32', 'maskgit', 'halton-base'],
        help='models to measure; default: titok-l32 maskgit halton-base',
    )
    parser.add_argument('--batches', nargs='+', type=int, help='batch sizes; default: 1 on a CPU, 1 and 64 on a GPU')
    parser.add_argument('--steps', type=int, help='decoding steps; default: as published')
    parser.add_argument('--repeats', type=int, default=3, help='measured repeats; default %(default)s')
    parser.add_argument('--cpu-time', action='store_true', help='measure CPU seconds, for a machine with other work')
    parser.add_argument('--profile', action='store_true', help='also print the share of matrix products in both')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='CPU threads; default %(default)s')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    batches = args.batches or ([1, 64] if device.type == 'cuda' else [1])
    rows = [
        measure(form, batch, device, args.repeats, args.steps, args.profile) for form in args.forms for batch in batches
    ]
    machine = torch.cuda.get_device_name() if device.type == 'cuda' else f'CPU, {args.threads} threads'
    document = {'task': 'sampling of masked models', 'machine': machine, 'torch': torch.__version__}
    if args.json:
        print(json.dumps({**document, 'rows': rows}, indent=2))
        return
    print(machine)
    for row in rows:
        print(
            f'{row["form"]} batch {row["batch"]}, {row["steps"]} steps: {row["ours_seconds"]:.2f} s, plain '
            f'{row["plain_seconds"]:.2f} s '
            f'({row["speedup_ratio"]:.2f} times); {row["images_per_second"]:.2f} images/s; {row["same_codes"]:.1%} same codes'
        )
        if args.profile:
            print(f'    products: {row["ours_product_share"]:.0%} and {row["plain_product_share"]:.0%} of the time')


if __name__ == '__main__':
    main()
