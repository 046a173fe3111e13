"""The fused operators of convolutional networks in Triton's interpreter; run by `test_fused_ops.py`.

That file also runs them without the interpreter, where the operators compute in torch, their own fallback. On a GPU
`tests/gpu/test_fused_ops.py` runs them there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.ops import group_norm_silu as norms
from fvq_core.ops.feature_distance import feature_distance, feature_distance_op
from fvq_core.ops.kernels import KERNELS, switch
from fvq_core.ops.recomputed_conv import norm_conv, upsample_conv
from fvq_core.ops.residual_sum import residual_sum, residual_sum_op
from fvq_core.ops.upsample2x import upsample2x, upsample2x_op

DEVICE = torch.device('cpu')
LAUNCHES = os.environ.get('TRITON_INTERPRET') == '1'  # whether kernels are launched
ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 2**-8, torch.float16: 2**-11}
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@contextmanager
def kernels_must_run() -> Iterator[None]:
    """A kernel that falls back would pass for one that works."""
    for name in ('group_norm_silu', 'upsample2x', 'feature_distance'):
        assert KERNELS[name].enabled(DEVICE) is LAUNCHES
    with DEVICE:
        yield
    assert not any(kernel.failed for kernel in KERNELS.values())


@pytest.fixture(autouse=True)
def kernels_run() -> Iterator[None]:
    with kernels_must_run():
        yield


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    values = torch.randn(*shape, generator=torch.Generator('cpu').manual_seed(seed), device='cpu') * 1.5 + 0.5
    x = values.to(DEVICE, dtype)
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def doubles(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().double().requires_grad_() for tensor in tensors]


def assert_near(got: Sequence[Tensor], expected: Sequence[Tensor], dtype: torch.dtype, factor: float = 2.0) -> None:
    """Within `factor` roundings of each tensor's root mean square, everywhere within 8 of them."""
    for one, other in zip(got, expected, strict=True):
        assert one.shape == other.shape
        assert one.isfinite().all()
        error, scale = (one.double() - other).abs(), other.square().mean().sqrt() + 1e-30
        assert error.square().mean().sqrt() <= factor * ROUNDING[dtype] * scale
        assert (error <= 8 * factor * ROUNDING[dtype] * (other.abs() + scale)).all()


# (N, C, H, W), groups: a power of two; odd channels; rows that end inside a tile; past a tile and a program; one position.
SHAPES = [
    ((2, 32, 8, 8), 8),
    ((1, 21, 5, 7), 3),
    ((2, 6, 53, 31), 2),
    ((1, 128, 32, 32), 32),
    ((1, 512, 3, 3), 32),
    ((3, 4, 1, 1), 1),
]


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize(('shape', 'groups'), SHAPES)
@pytest.mark.parametrize(('silu', 'folded', 'each'), [(True, True, False), (False, False, True)])
def test_group_norm_equals_float64(
    shape: tuple[int, ...], groups: int, dtype: torch.dtype, silu: bool, folded: bool, each: bool
) -> None:
    N, C, _, _ = shape
    x, dy = random(*shape, dtype=dtype), random(*shape, dtype=dtype, seed=1)
    affine = (N, C) if each else (C,)
    inputs = [x, random(*affine, seed=2), random(*affine, seed=3)] + ([random(C, seed=4)] if folded else [])
    for tensor in inputs:
        tensor.requires_grad_()
    pre = inputs[3] if folded else None
    y, mean, rstd, _ = norms.group_norm_silu_op(*inputs[:3], pre, groups, 1e-6, silu)
    got = [y, *torch.autograd.grad(y, inputs, dy)]
    assert y.dtype == dtype
    assert got[1].is_contiguous(memory_format=torch.channels_last)
    assert y.is_contiguous(memory_format=torch.channels_last)
    exact = doubles(inputs)
    z = exact[0] + exact[3].view(1, -1, 1, 1) if folded else exact[0]
    z = F.group_norm(z, groups, eps=1e-6) if z[0].numel() > groups else z * 0  # one value a group: torch refuses none
    z = z * exact[1].view(-1, C, 1, 1) + exact[2].view(-1, C, 1, 1)
    z = F.silu(z) if silu else z
    # Sums over thousands of rounded gradients: their own rounding is that of float32, that of dy is in both.
    assert_near(got, [z, *torch.autograd.grad(z, exact, dy.double())], dtype, 4.0)
    again = norms.group_norm_silu_again_op(x, mean, rstd, *inputs[1:3], pre, silu)
    assert torch.equal(again, y)


def test_a_large_mean_costs_no_digits() -> None:
    """Welford's recurrence: the square of the mean, 10^8 times the variance, is never formed."""
    x = random(1, 8, 40, 40) * 0.1 + 1000
    w, b = torch.ones(8), torch.zeros(8)
    y, _, rstd, _ = norms.group_norm_silu_op(x, w, b, None, 2, 1e-6, False)
    exact = F.group_norm(x.double(), 2, eps=1e-6)
    variance = x.double().reshape(1, 2, -1).var(-1, correction=0)
    torch.testing.assert_close(rstd.double(), (variance + 1e-6).rsqrt(), rtol=2e-3, atol=0)
    assert (y.double() - exact).abs().max() < 2e-3 * exact.abs().max()


@pytest.mark.filterwarnings('ignore:overflow encountered in exp')  # NumPy's, in the interpreter
def test_silu_saturates_without_overflow() -> None:
    """exp(-z) is infinite below -88, and 0 above 104."""
    x, w, b = random(2, 8, 6, 6), torch.full((8,), 150.0), torch.zeros(8)
    inputs = [tensor.requires_grad_() for tensor in (x, w, b)]
    y = norms.group_norm_silu_op(*inputs, None, 2, 1e-6, True)[0]
    exact = doubles(inputs)
    z = F.group_norm(exact[0], 2, *exact[1:], eps=1e-6)
    assert z.abs().max() > 200
    dy, expected = random(2, 8, 6, 6, seed=1), F.silu(z)
    got = [y, *torch.autograd.grad(y, inputs, dy)]
    assert_near(got, [expected, *torch.autograd.grad(expected, exact, dy.double())], torch.float32, 8.0)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('shape', [(2, 16, 4, 4), (1, 5, 7, 3), (2, 96, 9, 5), (1, 64, 32, 32)])
def test_upsampling_and_residual_sum_equal_float64(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    N, C, H, W = shape
    x, dy = random(*shape, dtype=dtype).requires_grad_(), random(N, C, 2 * H, 2 * W, dtype=dtype, seed=1)
    y = upsample2x_op(x)
    assert torch.equal(y, F.interpolate(x, scale_factor=2.0, mode='nearest'))
    assert y.is_contiguous(memory_format=torch.channels_last)
    (dx,) = torch.autograd.grad(y, x, dy)
    assert dx.is_contiguous(memory_format=torch.channels_last)
    assert_near([dx], [dy.double().view(N, C, H, 2, W, 2).sum((3, 5))], dtype)
    h, bias = random(*shape, dtype=dtype, seed=2).requires_grad_(), random(C, seed=3).requires_grad_()
    total = residual_sum_op(x, h, bias)
    exact = doubles([x, h, bias])
    expected = exact[0] + exact[1] + exact[2].view(1, -1, 1, 1)
    dy = random(*shape, dtype=dtype, seed=4)
    got = torch.autograd.grad(total, [x, h, bias], dy)
    assert_near([total, *got], [expected, *torch.autograd.grad(expected, exact, dy.double())], dtype)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('shape', [(2, 64, 8, 8), (1, 5, 7, 3), (3, 12, 17, 19), (1, 512, 2, 2), (1, 4, 70, 70)])
def test_feature_distance_equals_float64(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    a, b = random(*shape, dtype=dtype), random(*shape, dtype=dtype, seed=1)
    with torch.no_grad():
        a[0, :, 0, 0] = 0
        b[0, :, -1, -1] = 0
    a.requires_grad_()
    weight, grad = random(shape[1], seed=2).abs(), random(shape[0], seed=3)
    got = feature_distance(a, b, weight.view(1, -1, 1, 1))
    assert got.dtype == torch.float32
    (da,) = torch.autograd.grad(got, a, grad)
    exact = doubles([a])[0]
    expected = feature_distance(exact, b.double(), weight.double().view(1, -1, 1, 1))
    (de,) = torch.autograd.grad(expected, exact, grad.double())
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-7)
    assert_near([da], [de], dtype)
    assert not da[0, :, 0, 0].any()


def test_no_images() -> None:
    x, w = random(0, 8, 4, 4).requires_grad_(), torch.ones(8, requires_grad=True)
    y = norms.group_norm_silu_op(x, w, w, None, 2, 1e-6, True)[0]
    dx, dw = torch.autograd.grad(y.sum(), [x, w])
    assert (y.shape, dx.shape) == (x.shape, x.shape)
    assert not dw.any()
    assert upsample2x_op(x).shape == (0, 8, 8, 8)
    assert residual_sum_op(x, x, w).shape == x.shape
    assert feature_distance_op(x, x, w).shape == (0,)


def test_repeats_are_bit_equal() -> None:
    x, w = random(2, 24, 33, 17, dtype=torch.bfloat16).requires_grad_(), random(24).requires_grad_()

    def run() -> list[Tensor]:
        y = norms.group_norm_silu_op(x, w, w, w, 4, 1e-6, True)[0]
        return [y, *torch.autograd.grad(y, [x, w], y.detach()), feature_distance_op(x, y.detach(), w)]

    assert all(torch.equal(one, other) for one, other in zip(run(), run(), strict=True))


@pytest.mark.parametrize('dropout', [None, nn.Dropout(0.0), nn.Dropout(0.5)])
def test_a_convolution_of_the_norm_has_the_gradients_of_its_parts(dropout: nn.Dropout | None) -> None:
    if dropout is not None and dropout.p and DEVICE.type == 'cuda':
        pytest.skip('a GPU draws masks in memory order, and its own GroupNorm changes that')
    torch.manual_seed(0)
    norm, conv = nn.GroupNorm(4, 16, eps=1e-6), nn.Conv2d(16, 12, 3, padding=1)
    x, dy, pre = random(2, 16, 6, 5).requires_grad_(), random(2, 12, 6, 5, seed=1), random(16, seed=2).requires_grad_()
    inputs = [x, pre, *norm.parameters(), *conv.parameters()]

    def fused() -> Tensor:
        h, bias, same = norm_conv(x, norm, conv, pre, dropout)
        return residual_sum(same[:, :12], h, bias)

    def plain() -> Tensor:
        h = F.silu(norm(x + pre.view(1, -1, 1, 1)))
        return conv(h if dropout is None else dropout(h)) + x[:, :12]

    got, expected = [], []
    for made, run in ((got, fused), (expected, plain)):
        torch.manual_seed(1)
        y = run()
        made += [y, *torch.autograd.grad(y, inputs, dy)]
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_frozen_norm_and_a_frozen_convolution_get_no_gradient() -> None:
    norm, conv = nn.GroupNorm(2, 8).requires_grad_(False), nn.Conv2d(8, 8, 3, padding=1).requires_grad_(False)
    x = random(1, 8, 4, 4).requires_grad_()
    upsample_conv(norm_conv(x, norm, conv)[0], conv).sum().backward()
    assert x.grad is not None
    assert not any(p.grad is not None for p in (*norm.parameters(), *conv.parameters()))


def test_upsampling_before_a_convolution() -> None:
    conv, x = nn.Conv2d(8, 6, 3, padding=1), random(2, 8, 5, 4).requires_grad_()
    got, expected = upsample_conv(x, conv), conv(F.interpolate(x, scale_factor=2.0))
    dy, inputs = random(2, 6, 10, 8, seed=1), [x, *conv.parameters()]
    torch.testing.assert_close(got, expected)
    grads = (torch.autograd.grad(y, inputs, dy) for y in (got, expected))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_autocast_keeps_features_in_half_precision() -> None:
    norm, conv, x = nn.GroupNorm(2, 8), nn.Conv2d(8, 8, 3, padding=1), random(1, 8, 6, 6)
    with torch.autocast(DEVICE.type, torch.bfloat16):
        assert norms.apply_group_norm(x, norm, silu=True).dtype == (torch.bfloat16 if LAUNCHES else torch.float32)
        assert norm_conv(x, norm, conv)[0].dtype == torch.bfloat16
        assert upsample2x(x).dtype == (torch.bfloat16 if LAUNCHES else torch.float32)


def test_torch_checks_the_operators() -> None:
    """Schemas, fake tensors, autograd registration, tracing with dynamic shapes: `torch.library.opcheck`."""
    x, w = random(1, 8, 4, 4).requires_grad_(), torch.ones(8, requires_grad=True)
    y, mean, rstd, xbar = norms.group_norm_silu_op(x, w, w, None, 2, 1e-6, True)
    torch.library.opcheck(norms.group_norm_silu_op, (x, w, w, w, 2, 1e-6, True))
    detached = [t.detach() for t in (y, x, mean, rstd, xbar, w, w)]
    torch.library.opcheck(norms.group_norm_silu_again_op, (*detached[1:4], *detached[5:], None, True))
    torch.library.opcheck(norms.group_norm_silu_backward_op, (*detached, None, detached[0], True))
    torch.library.opcheck(upsample2x_op, (x,))
    torch.library.opcheck(residual_sum_op, (x, x.detach(), w))
    torch.library.opcheck(feature_distance_op, (x, x.detach(), w.detach()))


@pytest.mark.skipif(not LAUNCHES, reason='test_fused_step.py has what the fallbacks compute')
def test_a_step_through_the_kernels_equals_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.core import test_fused_step as plain_tests
    from tests.core.test_fused_step import distance, make_task, step

    one_image = {'images': plain_tests.batch()['images'][:1]}  # the interpreter takes its time for each
    monkeypatch.setattr(plain_tests, 'batch', lambda: one_image)
    losses, gradients = step(make_task('magvit2'))
    monkeypatch.setenv('FVQ_KERNELS', 'off')
    switch.cache_clear()
    plain_losses, plain = step(make_task('magvit2'))
    exact_losses, exact = step(make_task('magvit2'), 'float32')
    monkeypatch.undo()
    switch.cache_clear()
    for key, value in exact_losses.items():
        assert (losses[key] - value).abs() <= 3 * (plain_losses[key] - value).abs() + 0.01 * value.abs(), key
    assert distance(gradients, exact) <= 1.25 * distance(plain, exact) + 2**-8
