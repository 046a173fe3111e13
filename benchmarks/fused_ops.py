#!/usr/bin/env python
"""The fused operators of convolutional networks against plain torch and float64: errors, repeatability, time, memory bound.

    FVQ_KERNELS=all python benchmarks/fused_ops.py --json

Plain is what the modules run without kernels: under autocast to bfloat16, channels-last. `copy` is one read and one write of
the features; the least that an operator can take follows from its `passes`. Errors are in roundings: the root mean square
error relative to the result's, over the rounding of the type. Without a GPU it runs at a small size, the operators in torch.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.ops import feature_distance as distances
from fvq_core.ops import group_norm_silu as norms
from fvq_core.ops import upsample2x as up
from fvq_core.ops.kernels import KERNELS
from fvq_core.ops.recomputed_conv import NormConv
from fvq_core.ops.residual_sum import residual_sum_op

ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 2**-8, torch.float16: 2**-11}
# (N, C, H, W): what the networks hold, other channels and rows that end inside a tile, odd channels, one position. Each type
# of each shape is compiled anew, so that not all pairs are tried.
CASES = [
    *(((4, 128, 64, 64), dtype) for dtype in ROUNDING),
    ((3, 96, 33, 17), torch.bfloat16),
    ((1, 21, 5, 7), torch.bfloat16),
    ((2, 256, 1, 1), torch.float32),
]


@dataclass(frozen=True)
class Operator:
    """An operator, its plain formulation in any type, and the inputs beside the features."""

    kernel: str
    fused: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    inputs: Callable[[Sequence[int]], list[tuple[int, ...]]]
    passes: tuple[float, float]  # reads and writes of x's size over those of a copy, forward and backward
    past_2_31: bool = True  # whether all of it takes more than 2^31 elements


def norm_plain(x: Tensor, weight: Tensor, bias: Tensor, pre: Tensor) -> Tensor:
    return F.silu(F.group_norm(x + pre.to(x.dtype).view(1, -1, 1, 1), groups(x), weight, bias, 1e-6))


def adaptive_norm_plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.group_norm(x, groups(x), eps=1e-6) * weight[:, :, None, None] + bias[:, :, None, None]


def norm_conv(x: Tensor, weight: Tensor, bias: Tensor, conv: Tensor) -> Tensor:
    """The first half of a residual block and its sum: x's other gradient comes to the norm's backward pass."""
    geometry = ((1, 1), (0, 0), (1, 1), 1)
    outputs: Any = NormConv.apply(x, weight, bias, None, kernel(conv), None, (groups(x), 1e-6, geometry))
    return outputs[1] + outputs[0]


def norm_conv_plain(x: Tensor, weight: Tensor, bias: Tensor, conv: Tensor) -> Tensor:
    return x + F.conv2d(F.silu(F.group_norm(x, groups(x), weight, bias, 1e-6)), kernel(conv))


def kernel(conv: Tensor) -> Tensor:
    """That of a 1x1 convolution, (C, C, 1, 1), whose output is as large as its input."""
    return conv[:, :, None, None] * len(conv) ** -0.5


def groups(x: Tensor) -> int:
    return next(g for g in (32, 8, 3, 1) if x.shape[1] % g == 0)


def distance_plain(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    return distances.FeatureDistance.apply(a, b.detach(), weight.abs().view(1, -1, 1, 1).detach())


OPERATORS = {
    'group_norm_silu': Operator(
        'group_norm_silu',
        lambda x, weight, bias, pre: norms.group_norm_silu_op(x, weight, bias, pre, groups(x), 1e-6, True)[0],
        norm_plain,
        lambda shape: [tuple(shape), *[(shape[1],)] * 3],
        (1.5, 2.5),
    ),
    'group_norm': Operator(  # without SiLU and `pre`, with weights of each image
        'group_norm_silu',
        lambda x, weight, bias: norms.group_norm_silu_op(x, weight, bias, None, groups(x), 1e-6, False)[0],
        adaptive_norm_plain,
        lambda shape: [tuple(shape), tuple(shape[:2]), tuple(shape[:2])],
        (1.5, 2.5),
    ),
    'norm_conv': Operator(
        'group_norm_silu',
        norm_conv,
        norm_conv_plain,
        lambda shape: [tuple(shape), (shape[1],), (shape[1],), (shape[1], shape[1])],
        (4.0, 6.0),
        past_2_31=False,  # of its convolution torch decides that; its norm is that of the two above
    ),
    'residual_sum': Operator(
        'group_norm_silu',
        residual_sum_op,
        lambda x, h, bias: x + (h + bias.to(h.dtype).view(1, -1, 1, 1)),
        lambda shape: [tuple(shape), tuple(shape), (shape[1],)],
        (1.5, 0.5),
    ),
    'upsample2x': Operator(
        'upsample2x',
        up.upsample2x_op,
        lambda x: F.interpolate(x, scale_factor=2.0, mode='nearest'),
        lambda shape: [tuple(shape)],
        (2.5, 2.5),
    ),
    'feature_distance': Operator(
        'feature_distance',
        lambda a, b, weight: distances.feature_distance_op(a, b.detach(), weight.abs().detach()),
        distance_plain,
        lambda shape: [tuple(shape), tuple(shape), (shape[1],)],
        (1.0, 1.5),
    ),
}


def make(shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, device: torch.device, seed: int = 0) -> list[Tensor]:
    """Features in `dtype`, channels-last; vectors in float32; all with gradient."""
    rng = torch.Generator(device).manual_seed(seed)
    made = []
    for shape in shapes:
        x = torch.randn(shape, device=device, generator=rng, dtype=dtype if len(shape) == 4 else torch.float32)
        x = x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x
        made.append(x.requires_grad_())
    return made


def both_ways(function: Callable[..., Tensor], inputs: list[Tensor], dy: Tensor | None = None) -> list[Tensor]:
    y = function(*inputs)
    dy = torch.ones_like(y) if dy is None else dy.to(y.dtype)
    grads = torch.autograd.grad(y, inputs, dy, allow_unused=True)
    return [y.detach(), *[grad for grad in grads if grad is not None]]


def roundings(operator: Operator, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> float:
    """The largest error of output and gradients."""
    inputs = make(operator.inputs(shape), dtype, device)
    y = operator.fused(*inputs)
    dy = torch.randn(y.shape, device=device, generator=torch.Generator(device).manual_seed(1)).to(y.dtype)
    got = both_ways(operator.fused, inputs, dy)
    exact = both_ways(operator.plain, [x.detach().double().requires_grad_() for x in inputs], dy)
    errors = [float((a.double() - b).norm() / b.norm().clamp_min(1e-30)) for a, b in zip(got, exact, strict=True)]
    return largest(errors) / ROUNDING[dtype]


def largest(errors: Sequence[float]) -> float:
    """As `max`, which overlooks a NaN behind a number."""
    return next((error for error in errors if math.isnan(error)), max(errors))


def far(operator: Operator, shape: Sequence[int], device: torch.device) -> float:
    """Output and x's gradient of the last image beside the same computed in a batch of one, in roundings of bfloat16."""
    inputs = make(operator.inputs(shape), torch.bfloat16, device)
    last = [(x[-1:].detach().clone() if len(x) == shape[0] else x.detach()).requires_grad_() for x in inputs]
    y, one = operator.fused(*inputs), operator.fused(*last)
    dy = y.detach()  # differs from place to place, and costs no memory
    (dx,), (expected,) = torch.autograd.grad(y, inputs[:1], dy), torch.autograd.grad(one, last[:1], dy[-1:].clone())
    pairs = ((y.detach()[-1:].float(), one.detach().float()), (dx[-1:].float(), expected.float()))
    return largest([float((a - b).norm() / b.norm()) for a, b in pairs]) / ROUNDING[torch.bfloat16]


def milliseconds(step: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """The median of calls."""
    times = []
    for number in range(repeats + 2):
        if device.type == 'cuda':
            torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        if device.type == 'cuda':
            torch.cuda.synchronize()
        times += [time.perf_counter() - start] if number >= 2 else []
    return 1000 * sorted(times)[repeats // 2]


def timed(function: Callable[..., Tensor], inputs: list[Tensor], device: torch.device, repeats: int) -> list[float]:
    """Milliseconds forward and backward, under autocast as in training."""
    with torch.autocast(device.type, torch.bfloat16):
        y = function(*inputs)
        forward = milliseconds(lambda: function(*inputs), device, repeats)
    dy = torch.ones_like(y)
    wanted = [x for x in inputs if x.requires_grad]

    def backward() -> None:
        torch.autograd.grad(y, wanted, dy, retain_graph=True, allow_unused=True)

    return [round(forward, 3), round(milliseconds(backward, device, repeats), 3)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=15, help='measured repeats; default %(default)s')
    parser.add_argument('--json', action='store_true', help='print one JSON object')
    args = parser.parse_args()
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    full = device.type == 'cuda'
    # The same convolution each time, in float32 where it says so: its own errors are not those of the operators.
    cudnn: Any = torch.backends.cudnn
    cudnn.deterministic, cudnn.conv.fp32_precision = True, 'ieee'
    shape = (64, 128, 256, 256) if full else (2, 32, 32, 32)
    many = (264, 128, 256, 256) if full else (5, 32, 8, 8)  # past 2^31 elements
    name = torch.cuda.get_device_name() if full else 'CPU, small size'
    result: dict[str, Any] = {'device': name, 'shape': shape, 'dtype': 'bfloat16', 'operators': {}}
    x = make([shape], torch.bfloat16, device)[0].detach()
    result['copy_ms'] = copy_ms = round(milliseconds(lambda: torch.empty_like(x).copy_(x), device, args.repeats), 3)
    for name, operator in OPERATORS.items():
        errors = [roundings(operator, *case, device) for case in (CASES if full else CASES[3:])]
        inputs = make(operator.inputs(shape), torch.bfloat16, device)
        one, other = both_ways(operator.fused, inputs), both_ways(operator.fused, inputs)
        repeat = all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        del one, other
        fused, plain = (timed(run, inputs, device, args.repeats) for run in (operator.fused, operator.plain))
        inputs = make(operator.inputs((64, 128, 32, 32) if full else (1, 8, 8, 8)), torch.bfloat16, device)
        small = [sum(timed(run, inputs, device, args.repeats)) for run in (operator.plain, operator.fused)]
        del inputs
        result['operators'][name] = dict(
            kernel=operator.kernel,
            kernel_ran=KERNELS[operator.kernel].enabled(device),  # False after a fall back
            roundings=round(largest(errors), 3),
            repeats_equal=repeat,
            past_2_31=round(far(operator, many, device), 3) if operator.past_2_31 else None,
            fused_ms=fused,
            plain_ms=plain,
            limit_ms=[round(copy_ms * passes, 3) for passes in operator.passes],
            ratio=round(sum(plain) / sum(fused), 2),
            ratio_small=round(small[0] / small[1], 2),  # where launches cost as much as the work
        )
    print(json.dumps(result) if args.json else json.dumps(result, indent=2))


if __name__ == '__main__':
    main()
