"""The fused operators of convolutional networks, and a training step with them, on a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from fvq_core.ops.kernels import switch
from tests.core import interpreted_fused_ops as shared
from tests.core import test_fused_step as steps
from tests.core.interpreted_fused_ops import (  # noqa: F401  benchmarks/fused_ops.py has those of each shape and type
    test_a_convolution_of_the_norm_has_the_gradients_of_its_parts,
    test_a_frozen_norm_and_a_frozen_convolution_get_no_gradient,
    test_a_large_mean_costs_no_digits,
    test_a_step_through_the_kernels_equals_the_plain_one,
    test_autocast_keeps_features_in_half_precision,
    test_no_images,
    test_repeats_are_bit_equal,
    test_silu_saturates_without_overflow,
    test_upsampling_before_a_convolution,
)

pytestmark = pytest.mark.gpu


# One fixture, as two would run in the order of their names: the device is set before tensors are made on it.
@pytest.fixture(autouse=True)
def on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv('FVQ_KERNELS', 'all')
    for module in (shared, steps):
        monkeypatch.setattr(module, 'DEVICE', torch.device('cuda'))
    monkeypatch.setattr(shared, 'LAUNCHES', True)
    switch.cache_clear()
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False), shared.kernels_must_run():
        yield
    switch.cache_clear()


@pytest.mark.parametrize('name', steps.NETWORKS)
def test_no_convolution_copies_its_input_or_gradient(name: str) -> None:
    steps.check_layouts(name)


def test_the_losses_of_a_step_repeat_bit_for_bit() -> None:
    one, other = steps.step(steps.make_task('fvq')), steps.step(steps.make_task('fvq'))
    assert all(torch.equal(one[0][key], other[0][key]) for key in one[0])
    assert steps.distance(one[1], other[1]) < 1e-5  # of torch's own sums with atomics


@pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor that is not a leaf')  # torch's own tracing
@pytest.mark.filterwarnings("ignore:<class 'torch.autograd.function.Function'> should not be instantiated")
def test_a_compiled_step_is_the_eager_one_within_rounding() -> None:
    eager, compiled = steps.make_task('fvq'), steps.make_task('fvq', compile=True)
    (losses, gradients), (expected_losses, expected) = steps.step(compiled), steps.step(eager)
    torch.testing.assert_close(dict(losses), dict(expected_losses), rtol=2e-2, atol=1e-3)
    assert steps.distance(gradients, expected) < 2**-5
