"""Index back-propagation and entropies against the naive dense formulation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_quantizers import chunked_softmax
from fvq_quantizers.chunked_softmax import entropies, soft_codes
from fvq_quantizers.distances import DotProduct, SquaredL2
from fvq_quantizers.estimators import IndexBackpropagation, StraightThrough
from fvq_quantizers.regularizers import EntropyRegularizer

N, K, D = 23, 11, 5
distances = pytest.mark.parametrize('distance', [DotProduct(), SquaredL2()], ids=['dot', 'l2'])
chunks = pytest.mark.parametrize('max_scores', [2**23, 4 * K, 1], ids=['whole', 'chunks', 'rows'])


def data() -> tuple[Tensor, Tensor, Tensor]:
    """Latents and codes that want gradients, and a random gradient of the output."""
    return torch.randn(N, D).requires_grad_(), torch.randn(K, D).requires_grad_(), torch.randn(N, D)


def dense_logits(z_ND: Tensor, codebook_KD: Tensor, distance: nn.Module) -> Tensor:
    """z.e, or minus the squared distance, by the definition."""
    if isinstance(distance, DotProduct):
        return torch.einsum('nd,kd->nk', z_ND, codebook_KD)
    return -(z_ND[:, None] - codebook_KD[None]).square().sum(-1)


def naive_ibq(z_ND: Tensor, codebook_KD: Tensor, distance: nn.Module) -> Tensor:
    """IBQ as its paper has it: (onehot + soft - sg[soft]) @ codebook with a dense N x K matrix."""
    soft = dense_logits(z_ND, codebook_KD, distance).softmax(1)
    hard = F.one_hot(soft.argmax(1), K).float()
    return (hard - soft.detach() + soft) @ codebook_KD


def naive_entropies(p_NK: Tensor) -> tuple[Tensor, Tensor]:
    p_NK = p_NK.double()
    mean_K = p_NK.mean(0)
    return -(p_NK * p_NK.log()).sum(1).mean().float(), -(mean_K * mean_K.log()).sum().float()


@distances
@chunks
def test_ibq_equals_the_dense_formulation_in_value_and_gradients(
    distance: nn.Module, max_scores: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunked_softmax, 'MAX_SCORES', max_scores)
    z_ND, codebook_KD, gradient = data()
    expected = naive_ibq(z_ND, codebook_KD, distance)
    wanted = torch.autograd.grad(expected, (z_ND, codebook_KD), gradient)
    indices_N = distance.search(z_ND, codebook_KD)
    got = IndexBackpropagation()(z_ND, codebook_KD, indices_N, distance)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, (z_ND, codebook_KD), gradient), wanted)
    assert all(g.abs().sum() > 0 for g in wanted)


@chunks
def test_soft_codes_are_a_softmax_over_all_codes_at_a_temperature(max_scores: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chunked_softmax, 'MAX_SCORES', max_scores)
    z_ND, codebook_KD, gradient = data()
    values_KD = torch.randn(K, D)
    expected = (dense_logits(z_ND, codebook_KD, SquaredL2()) / 0.3).softmax(1) @ values_KD
    got = soft_codes(z_ND, codebook_KD, values_KD, SquaredL2(), temperature=0.3)
    torch.testing.assert_close(got, expected)
    pairs = (torch.autograd.grad(value, (z_ND, codebook_KD), gradient) for value in (got, expected))
    torch.testing.assert_close(*pairs, rtol=1e-4, atol=1e-5)


@distances
@chunks
@pytest.mark.parametrize('temperature', [1.0, 0.2])
def test_entropies_equal_the_dense_formulation_in_value_and_gradients(
    distance: nn.Module, max_scores: int, temperature: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunked_softmax, 'MAX_SCORES', max_scores)
    z_ND, codebook_KD, _ = data()
    expected = naive_entropies((dense_logits(z_ND, codebook_KD, distance).double() / temperature).softmax(1))
    got = entropies(z_ND, codebook_KD, distance, temperature, eps=1e-12)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    for one, other in zip(got, expected, strict=True):
        pairs = (torch.autograd.grad(value, (z_ND, codebook_KD), retain_graph=True) for value in (one, other))
        torch.testing.assert_close(*pairs, rtol=1e-3, atol=1e-5)


def test_entropies_at_the_extremes():
    same, z_ND = torch.ones(K, D), torch.randn(N, D)
    sample, batch = entropies(z_ND, same, SquaredL2(), 1.0, eps=0.0)
    assert (sample.item(), batch.item()) == pytest.approx((torch.tensor(K).log().item(),) * 2)
    codes = torch.eye(D) * 100
    sample, batch = entropies(codes.repeat(3, 1), codes, SquaredL2(), 1.0, eps=1e-12)
    assert (sample.item(), batch.item()) == pytest.approx((0.0, torch.tensor(D).log().item()), abs=1e-5)


def test_regularizer_weighs_both_entropies():
    z_ND, codebook_KD, _ = data()
    sample, batch = entropies(z_ND, codebook_KD, SquaredL2(), 0.5, 1e-5)
    term = EntropyRegularizer(0.1, temperature=0.5, sample_weight=2.0, batch_weight=3.0)
    assert term(z_ND, codebook_KD, SquaredL2())['entropy'].item() == pytest.approx(
        0.1 * (2 * sample - 3 * batch).item()
    )
    for wrong in (dict(weight=-1.0), dict(weight=1.0, temperature=0.0)):
        with pytest.raises(UserError, match='weight must be 0 or more and temperature above 0'):
            EntropyRegularizer(**wrong)


def test_logits_rank_codes_as_the_search_does():
    z_ND, codebook_KD, _ = data()
    for distance in (DotProduct(), SquaredL2()):
        assert torch.equal(distance.logits(z_ND, codebook_KD).argmax(1), distance.search(z_ND, codebook_KD))


def test_straight_through_has_the_value_of_the_code_and_the_gradient_of_the_latent():
    z_ND, codebook_KD, gradient = data()
    indices_N = torch.arange(N) % K
    z_q_ND = StraightThrough()(z_ND, codebook_KD, indices_N, SquaredL2())
    torch.testing.assert_close(z_q_ND, codebook_KD[indices_N])
    z_q_ND.backward(gradient)
    assert torch.equal(z_ND.grad, gradient)
    assert codebook_KD.grad is None
