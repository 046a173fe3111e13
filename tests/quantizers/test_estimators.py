"""Estimators against closed forms, explicit matrices, finite differences and the naive dense formulation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS
from fvq_quantizers import chunked_softmax
from fvq_quantizers.distances import DotProduct, SquaredL2
from fvq_quantizers.estimators import (
    DiVeQ,
    Estimator,
    IndexBackpropagation,
    RotationTrick,
    StraightThrough,
    SynchronizedStraightThrough,
)
from fvq_quantizers.regularizers import EntropyRegularizer
from fvq_quantizers.soft_choices import entropies, soft_gradient

from .matrix import VECTOR, build, latents, vectors

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
def test_soft_gradient_is_that_of_a_softmax_over_all_codes_at_a_temperature(
    max_scores: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(chunked_softmax, 'MAX_SCORES', max_scores)
    z_ND, codebook_KD, gradient = data()
    values_KD = torch.randn(K, D)
    expected = (dense_logits(z_ND, codebook_KD, SquaredL2()) / 0.3).softmax(1) @ values_KD
    got = soft_gradient(z_ND, codebook_KD, values_KD, SquaredL2(), temperature=0.3)
    assert torch.equal(got, torch.zeros(N, D))
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
    for wrong in (dict(weight=-1.0), dict(weight=1.0, temperature=0.0), dict(weight=1.0, eps=0.0)):
        with pytest.raises(UserError, match='weight must be 0 or more, temperature and eps above 0'):
            EntropyRegularizer(**wrong)


def test_logits_rank_codes_as_the_search_does():
    z_ND, codebook_KD, _ = data()
    for distance in (DotProduct(), SquaredL2()):
        assert torch.equal(distance.logits(z_ND, codebook_KD).argmax(1), distance.search(z_ND, codebook_KD))


@distances
@torch.no_grad()
def test_codes_are_drawn_by_what_the_search_compares(distance: nn.Module):
    """Under a cosine search a long code is drawn no more often than its angle deserves."""
    name = type(distance).__name__
    quantizer = build(
        dict(VECTOR, codebook_size=2, code_dim=2),
        train=True,
        normalize=dict(type='CosineSearch'),
        distance=dict(type=name),
        estimator=dict(type='StochasticMask', ratio=1.0),
    )
    quantizer.embedding.copy_(torch.tensor([[1.0, 0.0], [3.0, 4.0]]))
    z = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 100, 100)
    share = (quantizer(z).z_q_BDHW[:, 1] > 2).float().mean().item()
    factor = 1.0 if name == 'DotProduct' else 2.0
    assert share == pytest.approx(torch.tensor(factor * (0.6 - 1.0)).sigmoid().item(), abs=0.02)


@distances
def test_ibq_under_a_cosine_search_has_the_gradient_of_a_softmax_of_cosines(distance: nn.Module):
    name = type(distance).__name__
    axes = dict(normalize=dict(type='CosineSearch'), distance=dict(type=name), loss=dict(type='VQLoss', beta=0.0))
    quantizer = build(VECTOR, train=True, estimator=dict(type='IndexBackpropagation'), **axes)
    z, gradient = latents().requires_grad_(), torch.randn_like(latents())
    quantizer(z).z_q_BDHW.backward(gradient)
    reference, codebook_KD = z.detach().clone().requires_grad_(), quantizer.embedding.detach().clone().requires_grad_()
    z_ND = vectors(reference)
    logits = dense_logits(F.normalize(z_ND, dim=1), F.normalize(codebook_KD, dim=1), distance)
    soft, hard = logits.softmax(1), F.one_hot(logits.argmax(1), logits.shape[1]).float()
    ((hard - soft.detach() + soft) @ codebook_KD * vectors(gradient)).sum().backward()
    torch.testing.assert_close(z.grad, reference.grad)
    torch.testing.assert_close(quantizer.embedding.grad, codebook_KD.grad)


PAIRWISE = [StraightThrough(), RotationTrick(), DiVeQ(noise_std=0.0), SynchronizedStraightThrough(0.3)]
every_pairwise = pytest.mark.parametrize('estimator', PAIRWISE, ids=lambda estimator: type(estimator).__name__)


def apply(estimator: Estimator) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Latents, codebook, indices and output's gradient, and the output after its backward pass."""
    z_ND, codebook_KD, gradient = data()
    indices_N = torch.arange(N) % K
    z_q_ND = estimator(z_ND, codebook_KD, indices_N, SquaredL2())
    z_q_ND.backward(gradient)
    return z_ND, codebook_KD, indices_N, gradient, z_q_ND


@every_pairwise
def test_value_is_the_chosen_code(estimator: Estimator):
    _, codebook_KD, indices_N, _, z_q_ND = apply(estimator)
    torch.testing.assert_close(z_q_ND, codebook_KD[indices_N])


@every_pairwise
def test_quantized_value_may_come_as_a_constant(estimator: Estimator):
    """A caller that wants no gradient to the codes detaches them; the latent's is the same."""
    expected, codebook_KD, indices_N, gradient, _ = apply(estimator)
    z_ND = expected.detach().clone().requires_grad_()
    estimator.pair(z_ND, codebook_KD.detach()[indices_N]).backward(gradient)
    torch.testing.assert_close(z_ND.grad, expected.grad)


def test_straight_through_has_the_gradient_of_the_latent_and_none_for_the_code():
    z_ND, codebook_KD, _, gradient, _ = apply(StraightThrough())
    assert torch.equal(z_ND.grad, gradient)
    assert codebook_KD.grad is None


def test_synchronized_gives_the_latent_all_and_its_code_nu_of_the_gradient():
    z_ND, codebook_KD, indices_N, gradient, _ = apply(SynchronizedStraightThrough(nu=0.3))
    torch.testing.assert_close(z_ND.grad, gradient)
    torch.testing.assert_close(codebook_KD.grad, torch.zeros(K, D).index_add_(0, indices_N, 0.3 * gradient))
    with pytest.raises(UserError, match='nu must be 0 or more, got -1'):
        SynchronizedStraightThrough(-1)


@pytest.mark.parametrize('update', ['EMAUpdate', 'Frozen', 'AlternatingUpdate'])
def test_a_gradient_for_codes_that_nothing_trains_is_refused(update: str):
    estimator = dict(type='SynchronizedStraightThrough', nu=0.3)
    config = dict(type='VectorQuantizer', codebook_size=K, code_dim=D, update=dict(type=update))
    with pytest.raises(UserError, match=f'gives codes a gradient, but {update} trains no codebook'):
        QUANTIZERS.build(dict(config, estimator=estimator))
    QUANTIZERS.build(dict(config, estimator=dict(type='SynchronizedStraightThrough', nu=0.0)))
    if update != 'EMAUpdate':  # which takes no projector
        QUANTIZERS.build(dict(config, estimator=estimator, projector=dict(type='LinearProjector')))


def rotation(source: Tensor, target: Tensor) -> Tensor:
    """The rotation that takes one direction to another in their plane, by Rodrigues' formula; (D, D), float64."""
    a, b = (v.double() / v.double().norm() for v in (source, target))
    turn = torch.outer(b, a) - torch.outer(a, b)
    return torch.eye(len(a), dtype=torch.float64) + turn + turn @ turn / (1 + a @ b)


def test_rotation_trick_gives_the_latent_the_gradient_turned_back():
    z_ND, codebook_KD, indices_N, gradient, z_q_ND = apply(RotationTrick())
    assert codebook_KD.grad is None
    for n in range(N):
        z, code = z_ND[n].detach(), codebook_KD[indices_N[n]].detach()
        R, scale = rotation(z, code), (code.norm() / z.norm()).double()
        torch.testing.assert_close(R @ R.t(), torch.eye(D, dtype=torch.float64))
        torch.testing.assert_close(scale * R @ z.double(), z_q_ND[n].detach().double(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(z_ND.grad[n].double(), scale * R.t() @ gradient[n].double(), rtol=1e-4, atol=1e-5)


def test_rotation_trick_keeps_the_angle_between_gradient_and_code():
    z_ND, codebook_KD, indices_N, gradient, _ = apply(RotationTrick())
    before = F.cosine_similarity(gradient, codebook_KD[indices_N])
    torch.testing.assert_close(F.cosine_similarity(z_ND.grad, z_ND), before, rtol=1e-4, atol=1e-5)


def test_rotation_trick_where_directions_meet_oppose_or_are_missing():
    code, gradient = torch.randn(1, D), torch.randn(1, D)

    def latent_gradient(z: Tensor) -> Tensor:
        z = z.clone().requires_grad_()
        value = RotationTrick().pair(z, code)
        torch.testing.assert_close(value, code)
        value.backward(gradient)
        return z.grad

    torch.testing.assert_close(latent_gradient(0.5 * code), 2 * gradient)
    axis = F.normalize(code, dim=1)
    reflected = gradient - 2 * (gradient * axis).sum() * axis
    torch.testing.assert_close(latent_gradient(-code), reflected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(latent_gradient(torch.zeros(1, D)), gradient)


@pytest.mark.parametrize('noise_std', [0.0, 0.5])
def test_diveq_has_the_gradients_of_an_error_of_fixed_direction(noise_std: float):
    z_ND, codes_ND, gradient = (torch.randn(N, D, dtype=torch.float64) for _ in range(3))
    z_ND.requires_grad_(), codes_ND.requires_grad_()
    value = DiVeQ(noise_std).pair(z_ND, codes_ND)
    direction = F.normalize((value - z_ND).detach(), dim=1)
    value.backward(gradient)

    def surrogate(z: Tensor, codes: Tensor) -> Tensor:
        return ((z + (codes - z).norm(dim=1, keepdim=True) * direction) * gradient).sum()

    for got, which in ((z_ND, 0), (codes_ND, 1)):
        for n, d in ((0, 0), (7, 3), (22, 4)):
            values = []
            for step in (1e-6, -1e-6):
                moved = [z_ND.detach().clone(), codes_ND.detach().clone()]
                moved[which][n, d] += step
                values.append(surrogate(*moved))
            torch.testing.assert_close(got.grad[n, d], (values[0] - values[1]) / 2e-6, rtol=1e-5, atol=1e-7)
    assert codes_ND.grad.abs().sum() > 0


def test_diveq_noise_turns_the_error_and_keeps_its_length():
    z_ND, codes_ND = torch.randn(500, D), torch.randn(500, D)
    value = DiVeQ(noise_std=0.1).pair(z_ND, codes_ND)
    torch.testing.assert_close((value - z_ND).norm(dim=1), (codes_ND - z_ND).norm(dim=1))
    turned = (value - codes_ND).square().mean().sqrt()
    # the D - 1 directions across the error get the noise, to first order
    assert turned.item() == pytest.approx(0.1 * ((D - 1) / D) ** 0.5, rel=0.1)
    with pytest.raises(UserError, match='noise_std must be 0 or more'):
        DiVeQ(-0.1)


@pytest.mark.parametrize('estimator', ['DiVeQ', 'SynchronizedStraightThrough'])
@pytest.mark.parametrize('depth', [None, 3])
def test_decoder_trains_the_codebook_through_estimators_that_let_it(estimator: str, depth: int | None):
    vector = dict(VECTOR, estimator=dict(type=estimator))
    quantizer = build(vector if depth is None else dict(type='ResidualQuantizer', quantizer=vector, depth=depth), True)
    quantizer(latents()).z_q_BDHW.square().sum().backward()
    gradients = [p.grad for name, p in quantizer.named_parameters() if name.endswith('embedding')]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
