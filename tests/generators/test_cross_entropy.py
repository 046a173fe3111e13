"""The chunked cross-entropy is the plain one, without its memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fvq_generators.cross_entropy import chunked_cross_entropy


def problem(N: int = 23, V: int = 17, D: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(N)
    return torch.randn(N, D, requires_grad=True), torch.randn(V, D, requires_grad=True), torch.randint(V, (N,))


@settings(max_examples=40)
@given(st.integers(1, 30), st.integers(1, 40), st.booleans())
def test_value_and_gradients_are_those_of_the_plain_loss(N: int, rows: int, weighted: bool):
    x, head, targets = problem(N)
    weights = (torch.rand(N) > 0.4).float() if weighted else None
    plain = F.cross_entropy(x @ head.t(), targets, reduction='none')
    expected = plain.mean() if weights is None else (plain * weights).sum() / weights.sum().clamp(min=1.0)
    wanted = torch.autograd.grad(3.0 * expected, (x, head))
    got = chunked_cross_entropy(x, head, targets, weights, rows)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    gradients = torch.autograd.grad(3.0 * got, (x, head))
    torch.testing.assert_close(gradients, wanted, rtol=1e-5, atol=1e-6)


@settings(max_examples=20)
@given(st.integers(1, 20), st.integers(1, 30), st.floats(0.0, 0.9))
def test_with_a_bias_and_smoothed_targets_too(N: int, rows: int, smoothing: float):
    x, head, targets = problem(N)
    bias, weights = torch.randn(len(head), requires_grad=True), torch.rand(N) + 0.5
    plain = F.cross_entropy(x @ head.t() + bias, targets, reduction='none', label_smoothing=smoothing)
    wanted = torch.autograd.grad((plain * weights).sum() / weights.sum().clamp(min=1.0), (x, head, bias))
    options = dict(bias_V=bias, label_smoothing=smoothing)
    got = torch.autograd.grad(chunked_cross_entropy(x, head, targets, weights, rows, **options), (x, head, bias))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_no_tensor_as_large_as_all_logits_is_ever_made_or_kept():
    x, head, targets = problem(N=512, V=4096, D=8)
    kept: list[int] = []
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for tensor in torch.utils._pytree.tree_leaves(out):
                if isinstance(tensor, Tensor):
                    largest = max(largest, tensor.numel())
            return out

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with Watch(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        chunked_cross_entropy(x, head, targets, rows=32).backward()
    assert largest == max(32 * 4096, head.numel())
    assert sum(kept) == x.numel() + head.numel()


def test_without_gradients_none_are_made():
    x, head, targets = problem()
    with torch.no_grad():
        loss = chunked_cross_entropy(x, head, targets)
    assert not loss.requires_grad
    frozen = chunked_cross_entropy(x, head.detach(), targets)
    frozen.backward()
    assert x.grad is not None
    assert head.grad is None


def test_under_autocast_the_products_are_in_half_and_the_sums_in_full():
    x, head, targets = problem(N=64, V=32, D=16)
    with torch.autocast('cpu', torch.bfloat16):
        loss = chunked_cross_entropy(x, head, targets, rows=8)
    plain = F.cross_entropy((x.bfloat16() @ head.bfloat16().t()).float(), targets)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    got, wanted = torch.autograd.grad(loss, (x, head)), torch.autograd.grad(plain, (x, head))
    torch.testing.assert_close(got, wanted, rtol=0.05, atol=1e-3)
