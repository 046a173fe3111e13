"""The fused operators of convolutional networks: in the interpreter, by their fallbacks, and compiled for cards."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fvq_core.ops.group_norm_silu import apply_group_norm
from fvq_core.ops.recomputed_conv import norm_conv, upsample_conv
from fvq_core.ops.residual_sum import residual_sum
from tests.triton_interpreter import run_interpreted

from .interpreted_fused_ops import *  # noqa: F403  the fallbacks of the operators pass the same tests


@pytest.mark.processes
def test_in_the_interpreter() -> None:
    run_interpreted('core/interpreted_fused_ops.py')


def test_without_kernels_modules_compute_what_they_did_bit_for_bit() -> None:
    norm, conv, x = nn.GroupNorm(4, 8), nn.Conv2d(8, 8, 3, padding=1), torch.randn(2, 8, 6, 6)
    assert torch.equal(apply_group_norm(x, norm), norm(x))
    h, bias, same = norm_conv(x, norm, conv, dropout=nn.Dropout(0.0))
    assert bias is None
    assert same is x
    assert torch.equal(residual_sum(x, h, bias), x + conv(F.silu(norm(x))))
    assert torch.equal(upsample_conv(x, conv), conv(F.interpolate(x, scale_factor=2.0, mode='nearest')))
    each = torch.randn(2, 8), torch.randn(2, 8)
    bare = nn.GroupNorm(4, 8, affine=False)
    expected = bare(x) * each[0][:, :, None, None] + each[1][:, :, None, None]
    assert torch.equal(apply_group_norm(x, bare, weight=each[0], bias=each[1]), expected)


def test_gradients_of_the_plain_way() -> None:
    norm, conv = nn.GroupNorm(2, 4).double(), nn.Conv2d(4, 3, 3, padding=1).double()
    x, pre = torch.randn(1, 4, 3, 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (x, pre)]
    assert torch.autograd.gradcheck(lambda x, pre: norm_conv(x, norm, conv, pre)[0], inputs)
    assert torch.autograd.gradcheck(lambda x: upsample_conv(x, conv), (x,))
