"""Indices of mixed radix, and entropies of soft choices among sign vectors against the dense softmax."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_quantizers import binary_codes, chunked_softmax
from fvq_quantizers.binary_codes import bernoulli_entropy, entropies_of_bits
from fvq_quantizers.digits import Order, digits_to_index, index_to_digits

EPS = 1e-5


def dense_entropies(log_odds_NGC: Tensor, clamp: bool, pool: bool) -> tuple[Tensor, Tensor]:
    """By the definition, in float64: softmax over all sign vectors c of the sum of a_c c / 2."""
    a = log_odds_NGC.double()
    signs_KC = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=a.shape[2])), dtype=torch.float64)
    p_NGK = (a @ signs_KC.t() / 2).softmax(2)

    def log(p: Tensor) -> Tensor:
        return p.clamp_min(EPS).log() if clamp else (p + EPS).log()

    sample = -(p_NGK * (log(p_NGK) if clamp else p_NGK.clamp_min(1e-300).log())).sum(2).mean()
    mean_GK = p_NGK.mean((0, 1))[None] if pool else p_NGK.mean(0)
    return sample.float(), -(mean_GK * log(mean_GK)).sum(1).mean().float()


def test_digits_count_up_in_either_order():
    index = torch.arange(24)
    little, big = (index_to_digits(index, (2, 3, 4), order) for order in ('little', 'big'))
    assert little[:4].tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]
    assert big[:4].tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3]]


@pytest.mark.parametrize('order', ['little', 'big'])
def test_digits_are_unique_and_lead_back_to_the_index(order: Order):
    levels = (2, 3, 4)
    digits = index_to_digits(torch.arange(24).view(4, 6), levels, order)
    assert len(digits.view(-1, 3).unique(dim=0)) == 24
    assert (digits < torch.tensor(levels)).all()
    assert torch.equal(digits_to_index(digits, levels, order), torch.arange(24).view(4, 6))


@pytest.mark.parametrize('pool', [False, True])
@pytest.mark.parametrize('clamp', [False, True])
@pytest.mark.parametrize('max_scores', [2**23, 64, 1], ids=['whole', 'chunks', 'rows'])
def test_entropies_and_gradients_are_those_of_the_dense_softmax(
    pool: bool, clamp: bool, max_scores: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunked_softmax, 'MAX_SCORES', max_scores)
    for channels in (1, 4, 5):
        a = (2 * torch.randn(7, 2, channels)).requires_grad_()
        expected = dense_entropies(a, clamp, pool)
        got = entropies_of_bits(a, EPS, clamp, pool)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
        for mine, theirs in zip(got, expected, strict=True):
            wanted = torch.autograd.grad(theirs, a, retain_graph=True)[0]
            torch.testing.assert_close(torch.autograd.grad(mine, a, retain_graph=True)[0], wanted, rtol=1e-4, atol=1e-6)
            assert wanted.abs().sum() > 0


def test_entropy_of_a_bit_is_precise_where_the_bit_is_almost_sure():
    a = torch.tensor([0.0, 5.0, -15.0, 30.0, 400.0])
    log_p, log_q = (F.logsigmoid(sign * a.double()) for sign in (1, -1))
    expected = -(log_p.exp() * log_p + log_q.exp() * log_q)
    torch.testing.assert_close(bernoulli_entropy(a), expected.float(), rtol=1e-5, atol=0)


def test_mean_choice_is_taken_over_all_ranks(monkeypatch: pytest.MonkeyPatch):
    a = torch.randn(10, 2, 4)
    whole = entropies_of_bits(a)[1]
    other_half = torch.stack([binary_codes.mean_choice(a_NC) for a_NC in a[5:].unbind(1)])
    monkeypatch.setattr(binary_codes, 'mean_over_ranks', lambda mean_GK: (mean_GK + other_half) / 2)
    torch.testing.assert_close(entropies_of_bits(a[:5])[1], whole)


def test_two_to_the_eighteen_codes_take_no_matrix_of_latents_by_codes():
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            largest = max(largest, out.numel() if isinstance(out, Tensor) else 0)
            return out

    a = torch.randn(64, 1, 18, requires_grad=True)
    with Watch():
        sample, batch = entropies_of_bits(a)
    (sample - batch).backward()
    assert a.grad.isfinite().all()
    assert largest == 2**18  # the mean choice itself; 64 x 2^18 otherwise
