#!/usr/bin/env python
"""Attention over scales, forward and backward: a call for each scale beside one of FlexAttention, and both against float64.

python benchmarks/block_causal_attention.py --json             # on a GPU: VAR-d16's 680 positions, bfloat16, 32 images
python benchmarks/block_causal_attention.py --tiny --json      # anywhere; on a CPU forward only, and not compiled
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.sampling import seconds
from fvq_generators.layers.block_causal_attention import by_scale, flex

SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
Attention = Callable[[Tensor, Tensor, Tensor, tuple[int, ...], float | None], Tensor]


def run(attention: Attention, inputs: list[Tensor], lengths: tuple[int, ...], backward: bool) -> list[Tensor]:
    """The result, and with `backward` the gradients of a sum of it."""
    leaves = [each.detach().requires_grad_(backward) for each in inputs[:3]]
    out = attention(*leaves, lengths, None)
    return [out.detach(), *(torch.autograd.grad((out * inputs[3]).sum(), leaves) if backward else ())]


def dense(q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...], scale: float | None) -> Tensor:
    """With a mask of L x L."""
    scale_of_L = torch.arange(len(lengths), device=q.device).repeat_interleave(torch.tensor(lengths, device=q.device))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=scale_of_L[:, None] >= scale_of_L, scale=scale)


def error(got: list[Tensor], want: list[Tensor]) -> float:
    """The largest difference, relative to the largest number of each tensor."""
    pairs = zip(got, want, strict=True)
    return max(((one.double() - other).abs().max() / other.abs().max()).item() for one, other in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', action='store_true', help='print JSON instead of lines')
    parser.add_argument('--tiny', action='store_true', help='small shapes, to try it out')
    parser.add_argument('--repeats', type=int, default=20, help='measured repeats; default %(default)s')
    args = parser.parse_args()
    warnings.filterwarnings('ignore', 'flex_attention called without')
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    on_gpu, dtype = device.type == 'cuda', torch.bfloat16 if torch.cuda.is_available() else torch.float32
    lengths = tuple(side**2 for side in (SCALES[:4] if args.tiny else SCALES))
    batch, heads = (2, 2) if args.tiny else (32, 16)
    torch.manual_seed(0)
    inputs = [torch.randn(batch, heads, sum(lengths), 64, device=device, dtype=dtype) for _ in range(4)]
    few = [each[:2] for each in inputs]
    exact = run(dense, [each.double() for each in few], lengths, on_gpu)
    row: dict[str, Any] = {'batch': batch, 'heads': heads, 'positions': sum(lengths), 'dtype': str(dtype)[6:]}
    for name, attention in (('by_scale', by_scale), ('flex', flex)):
        row[f'{name}_error'] = error(run(attention, few, lengths, on_gpu), exact)
        run(attention, inputs, lengths, on_gpu)  # compiles
        times = [
            seconds(lambda attend=attention: run(attend, inputs, lengths, on_gpu), device) for _ in range(args.repeats)
        ]
        row[f'{name}_ms'] = 1000 * statistics.median(times)
    row['speedup_ratio'] = row['by_scale_ms'] / row['flex_ms']
    machine = torch.cuda.get_device_name() if on_gpu else 'CPU, forward only'
    if args.json:
        print(
            json.dumps(
                {'task': 'attention over scales', 'machine': machine, 'torch': torch.__version__, **row}, indent=2
            )
        )
    else:
        print(machine, row)


if __name__ == '__main__':
    main()
