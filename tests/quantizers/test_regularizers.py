"""Prior, orthogonal and contrastive terms against their formulae; the stochastic mask against Gumbel-softmax."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import REGULARIZERS
from fvq_quantizers import chunked_softmax
from fvq_quantizers.chunked_softmax import gumbel_noise
from fvq_quantizers.distances import DotProduct, SquaredL2
from fvq_quantizers.estimators import StochasticMask
from fvq_quantizers.regularizers import ContrastiveRegularizer, OrthogonalRegularizer, PriorRegularizer
from fvq_quantizers.soft_choices import entropies

from .matrix import VECTOR, build, latents

N, K, D = 23, 11, 5
chunks = pytest.mark.parametrize('max_scores', [2**23, 4 * K, 1], ids=['whole', 'chunks', 'rows'])


def data() -> tuple[Tensor, Tensor]:
    """Latents and codes that want gradients."""
    return torch.randn(N, D).requires_grad_(), torch.randn(K, D).requires_grad_()


def same_gradients(got: Tensor, want: Tensor, *inputs: Tensor) -> None:
    """Values and gradients agree; an input that one does not depend on may have none in both."""
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    pairs = (torch.autograd.grad(value, inputs, retain_graph=True, materialize_grads=True) for value in (got, want))
    torch.testing.assert_close(*pairs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('temperature', [1.0, 0.3])
@chunks
def test_prior_is_the_divergence_of_the_mean_choice_from_the_uniform_one(
    temperature: float, max_scores: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunked_softmax, 'MAX_SCORES', max_scores)
    monkeypatch.setattr(chunked_softmax, 'TILE_CODES', 4)
    z, codes = data()
    p = ((-(z[:, None] - codes[None]).square().sum(-1)) / temperature).softmax(1).mean(0)
    expected = 0.7 * F.kl_div(torch.full((K,), 1 / K).log(), p, reduction='sum')
    term = PriorRegularizer(0.7, temperature)(z, codes, SquaredL2())
    same_gradients(term['prior'], expected, z, codes)


def test_prior_is_zero_for_uniform_use_and_log_k_for_one_code():
    codes = 100 * torch.eye(D)
    for posterior in ('soft', 'hard'):
        prior = PriorRegularizer(posterior=posterior)
        assert prior(codes.repeat(3, 1), codes, SquaredL2())['prior'].item() == pytest.approx(0.0, abs=1e-5)
        assert prior(codes[:1], codes, SquaredL2())['prior'].item() == pytest.approx(math.log(D), rel=1e-4)


def test_hard_posterior_has_the_value_of_the_counts_and_the_gradient_of_the_softmaxes():
    z, codes = data()
    indices = torch.cdist(z, codes).argmin(1)
    shares = torch.bincount(indices, minlength=K) / N
    prior = PriorRegularizer(posterior='hard', eps=1e-3)(z, codes, SquaredL2())['prior']
    used = shares[shares > 0]
    assert prior.item() == pytest.approx((used * (K * used).log()).sum().item(), rel=1e-4)
    soft = (-(z[:, None] - codes[None]).square().sum(-1)).softmax(1).mean(0)
    slope = (K * shares.clamp(min=1e-3)).log() + (shares >= 1e-3).float()
    wanted = torch.autograd.grad((slope * soft).sum(), (z, codes), retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(prior, (z, codes)), wanted, rtol=1e-3, atol=1e-5)


def test_orthogonal_is_the_squared_distance_of_the_cosines_from_the_identity():
    z, codes = data()
    units = F.normalize(codes, dim=1)
    expected = 3.0 * (units @ units.t() - torch.eye(K)).square().sum() / K**2
    same_gradients(OrthogonalRegularizer(3.0)(z, codes, SquaredL2())['orthogonal'], expected, codes)
    orthogonal = OrthogonalRegularizer(1.0)(z, 7 * torch.eye(D), SquaredL2())['orthogonal']
    assert orthogonal.item() == pytest.approx(0.0, abs=1e-6)
    equal = OrthogonalRegularizer(1.0)(z, torch.ones(K, D), SquaredL2())['orthogonal']
    assert equal.item() == pytest.approx(1 - 1 / K, rel=1e-5)


def test_orthogonal_of_active_codes_and_of_a_sample_reaches_only_them():
    z, codes = data()
    active = torch.cdist(z[:4], codes).argmin(1).unique()
    term = OrthogonalRegularizer(1.0, active_only=True)(z[:4], codes, SquaredL2())['orthogonal']
    expected = OrthogonalRegularizer(1.0)(z, codes[active], SquaredL2())['orthogonal']
    same_gradients(term, expected, codes)
    (gradient,) = torch.autograd.grad(
        OrthogonalRegularizer(1.0, max_codes=3)(z, codes, SquaredL2())['orthogonal'], codes
    )
    assert (gradient.abs().sum(1) > 0).sum() == 3


@pytest.mark.parametrize('distance', [DotProduct(), SquaredL2()], ids=['dot', 'l2'])
@pytest.mark.parametrize('codes', [K, 3 * N], ids=['many latents', 'few latents'])
@chunks
def test_contrastive_is_the_cross_entropy_of_best_against_worst_latents(
    distance: Any, codes: int, max_scores: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunked_softmax, 'MAX_SCORES', max_scores)
    monkeypatch.setattr(chunked_softmax, 'TILE_CODES', 4)
    z, codes_KD = torch.randn(N, D).requires_grad_(), torch.randn(codes, D).requires_grad_()
    dot = isinstance(distance, DotProduct)
    scores = codes_KD @ z.detach().t() if dot else -(codes_KD[:, None] - z.detach()[None]).square().sum(-1)
    terms = []
    for row in scores:
        ordered = row.sort(descending=True).values
        positive, negatives = ordered[: max(1, N // codes)].mean(), ordered[N - N // 2 :]
        logits = torch.cat([positive[None], negatives]) / 0.2
        terms.append(logits.logsumexp(0) - logits[0])
    term = ContrastiveRegularizer(0.5, temperature=0.2)(z, codes_KD, distance)['contrastive']
    same_gradients(term, 0.5 * torch.stack(terms).mean(), codes_KD)
    assert torch.autograd.grad(term, z, allow_unused=True) == (None,)


def test_clamped_entropies_equal_the_dense_formulation():
    z, codes = data()
    p = ((z.double() @ codes.double().t()) / 0.2).softmax(1)
    want = -(p * p.clamp(min=1e-2).log()).sum(1).mean(), -(p.mean(0) * p.mean(0).clamp(min=1e-2).log()).sum()
    got = entropies(z, codes, DotProduct(), 0.2, eps=1e-2, clamp=True)
    assert (p < 1e-2).any()
    for one, other in zip(got, want, strict=True):
        same_gradients(one, other.float(), z, codes)


@pytest.mark.parametrize('name', ['ContrastiveRegularizer', 'OrthogonalRegularizer', 'PriorRegularizer'])
def test_regularizer_of_weight_zero_is_never_called(name: str, monkeypatch: pytest.MonkeyPatch):
    def forbidden(*arguments: object) -> None:
        raise AssertionError('the term was computed')

    monkeypatch.setattr(REGULARIZERS.get(name), 'forward', forbidden)
    build(VECTOR, train=True, regularizer=dict(type=name, weight=0.0))(latents())
    with pytest.raises(AssertionError, match='the term was computed'):
        build(VECTOR, train=True, regularizer=dict(type=name, weight=1.0))(latents())


def masked(ratio: float, temperature: float = 0.5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Latents, codes, best indices and the stochastic mask's output."""
    z, codes = data()
    indices = SquaredL2().search(z, codes)
    return z, codes, indices, StochasticMask(ratio, temperature)(z, codes, indices, SquaredL2())


@chunks
def test_mask_takes_the_best_code_outside_and_draws_inside(max_scores: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chunked_softmax, 'MAX_SCORES', max_scores)
    monkeypatch.setattr(chunked_softmax, 'TILE_CODES', 4)
    _, codes, indices, z_q = masked(0.4, temperature=1e6)  # uniform draws
    value = torch.cdist(z_q, codes).argmin(1)
    torch.testing.assert_close(z_q, codes[value])
    changed = (value != indices).sum()
    assert 0 < changed <= round(0.4 * N)
    for ratio in (0.0, 1.0):
        _, codes, indices, z_q = masked(ratio, temperature=1e-6)  # a draw without chance
        torch.testing.assert_close(z_q, codes[indices])


def test_mask_gradient_is_that_of_softmax_and_gumbel_softmax(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chunked_softmax, 'MAX_SCORES', 4 * K)
    for ratio in (0.0, 1.0):
        torch.manual_seed(3)
        z, codes, _, z_q = masked(ratio)
        upstream = torch.randn(N, D)
        got = torch.autograd.grad(z_q, (z, codes), upstream)
        torch.manual_seed(3)
        data()
        seed, order = int(torch.randint(2**48, ())), torch.randperm(N)
        logits = -(z[order][:, None] - codes[None]).square().sum(-1) / 0.5
        if ratio:
            noise = [gumbel_noise(part.shape, z.device, seed + 4 * i) for i, part in enumerate(logits.split(4))]
            logits = logits + torch.cat(noise)
        soft = logits.softmax(1)
        hard = F.one_hot(logits.argmax(1), K)
        value = hard.float() @ codes + (soft - soft.detach()) @ codes.detach()
        torch.testing.assert_close(z_q[order], value)
        torch.testing.assert_close(got, torch.autograd.grad(value, (z, codes), upstream[order]), rtol=1e-3, atol=1e-5)


def test_noise_is_gumbel():
    noise = gumbel_noise(torch.Size((200, 100)), torch.device('cpu'), 5)
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.03)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, rel=0.05)
    assert torch.equal(noise, gumbel_noise(noise.shape, noise.device, 5))
    assert not torch.equal(noise, gumbel_noise(noise.shape, noise.device, 6))


def test_impossible_options_are_refused():
    for wrong, message in (
        (lambda: PriorRegularizer(-1.0), 'weight must be 0 or more, temperature and eps above 0'),
        (lambda: PriorRegularizer(posterior='firm'), "posterior must be 'soft' or 'hard', got 'firm'"),
        (lambda: OrthogonalRegularizer(1.0, max_codes=0), 'max_codes 1 or more'),
        (lambda: ContrastiveRegularizer(temperature=0.0), 'temperature above 0'),
        (lambda: StochasticMask(1.5), r'ratio must lie in \[0, 1\]'),
    ):
        with pytest.raises(UserError, match=message):
            wrong()
