"""The vector quantizer's axes: losses in closed form, gradients, the cache of the mapped codebook, k-means."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.projector import Projector, find_projectors
from fvq_quantizers import chunked_softmax
from fvq_quantizers.regularizers import EntropyRegularizer

from .matrix import VECTOR, D, K, build, latents, vectors


def mse(one: Tensor, other: Tensor) -> float:
    """Mean square in float64."""
    return (one.double() - other.double()).square().mean().item()


class Counting(Projector):
    """A projector around another that counts how often it is called."""

    def __init__(self, projector: Projector) -> None:
        super().__init__(projector.codebook_size, projector.code_dim)
        self.projector, self.calls = projector, 0

    def forward(self, codebook_KD: Tensor) -> Tensor:
        self.calls += 1
        return self.projector(codebook_KD)


def counting(train: bool, **axes: Any) -> tuple[Any, Counting]:
    quantizer = build(VECTOR, train, projector=dict(type='LinearProjector'), **axes)
    quantizer.projector = Counting(quantizer.projector)
    return quantizer.train(train), quantizer.projector


@pytest.mark.parametrize(
    ('options', 'commitment', 'codebook'),
    [
        (dict(), 0.25, 1.0),
        (dict(beta=0.4), 0.4, 1.0),
        (dict(beta=0.4, legacy=True), 1.0, 0.4),
        (dict(beta=1.0, codebook_weight=0.33), 1.0, 0.33),
        (dict(beta=0.5, codebook_weight=0.0), 0.5, None),
    ],
)
def test_losses_equal_their_closed_form(options: dict[str, Any], commitment: float, codebook: float | None):
    quantizer, z = build(VECTOR, train=True, loss=dict(type='VQLoss', **options)), latents().requires_grad_()
    output = quantizer(z)
    codes_ND = quantizer.codebook()[output.codes.indices_BL.flatten()]
    error = mse(vectors(z), codes_ND)
    expected = {'commitment': commitment * error, **({} if codebook is None else {'codebook': codebook * error})}
    assert {key: loss.item() for key, loss in output.losses.items()} == pytest.approx(expected, rel=1e-6)

    output.losses['commitment'].backward(retain_graph=True)
    torch.testing.assert_close(vectors(z.grad), 2 * commitment * (vectors(z) - codes_ND).detach() / z.numel())
    assert quantizer.embedding.grad is None
    if codebook is not None:
        z.grad = None
        output.losses['codebook'].backward()
        assert z.grad is None
        pull = 2 * codebook * (codes_ND - vectors(z)).detach() / z.numel()
        expected_grad = torch.zeros(K, D).index_add_(0, output.codes.indices_BL.flatten(), pull)
        torch.testing.assert_close(quantizer.embedding.grad, expected_grad)


def test_absolute_differences_equal_their_closed_form():
    quantizer, z = build(VECTOR, train=True, loss=dict(type='VQLoss', norm='l1', legacy=True)), latents()
    losses = quantizer(z).losses
    error = (vectors(z) - F.embedding(quantizer(z).codes.indices_BL.flatten(), quantizer.codebook())).abs().mean()
    torch.testing.assert_close(losses['commitment'], error)
    torch.testing.assert_close(losses['codebook'], 0.25 * error)
    with pytest.raises(UserError, match="norm must be 'l1' or 'l2', got 'l3'"):
        build(VECTOR, loss=dict(type='VQLoss', norm='l3'))


@pytest.mark.parametrize('rows', [3, 100])
def test_cross_entropy_of_the_assigned_codes_is_torchs_however_rows_are_cut(rows: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chunked_softmax, 'MAX_SCORES', rows * K)
    quantizer, z = build(VECTOR, train=True, loss=dict(type='AssignmentCrossEntropy')), latents().requires_grad_()
    output = quantizer(z)
    got = torch.autograd.grad(output.losses['assignment'], (z, quantizer.embedding))
    plain = F.cross_entropy(-torch.cdist(vectors(z), quantizer.codebook()), output.codes.indices_BL.flatten())
    torch.testing.assert_close(output.losses['assignment'], plain)
    torch.testing.assert_close(got, torch.autograd.grad(plain, (z, quantizer.embedding)))


def test_a_loss_of_all_codes_is_refused_where_codes_are_summed():
    inner = dict(VECTOR, loss=dict(type='AssignmentCrossEntropy'))
    with pytest.raises(UserError, match='AssignmentCrossEntropy compares a latent with all codes'):
        build(dict(type='ResidualQuantizer', depth=2, quantizer=inner))


def test_ibq_losses_equal_their_closed_form():
    axes = dict(
        distance=dict(type='dot'), estimator=dict(type='IndexBackpropagation'), loss=dict(type='IBQLoss', beta=0.3)
    )
    quantizer, z = build(VECTOR, train=True, **axes), latents()
    output = quantizer(z)
    error = mse(vectors(z), quantizer.codebook()[output.codes.indices_BL.flatten()])
    assert {key: loss.item() for key, loss in output.losses.items()} == pytest.approx(
        {'double': error, 'commitment': error, 'codebook': 0.3 * error}, rel=1e-5
    )


def test_straight_through_hands_the_decoders_gradient_on_unchanged():
    quantizer, z = build(VECTOR, train=True), latents().requires_grad_()
    gradient = torch.randn(2, D, 4, 6)
    quantizer(z).z_q_BDHW.backward(gradient)
    assert torch.equal(z.grad, gradient)
    assert quantizer.embedding.grad is None


def test_codes_are_the_nearest_of_the_mapped_codebook_not_of_the_raw_one():
    quantizer, z = build(VECTOR, projector=dict(type='MLPProjector', depth=2)), latents(8)
    mapped, raw = (torch.cdist(vectors(z), c).argmin(1) for c in (quantizer.codebook(), quantizer.embedding))
    assert torch.equal(quantizer(z).codes.indices_BL.flatten(), mapped)
    assert not torch.equal(mapped, raw)


@pytest.mark.parametrize('weight', [0.0, 0.1])
def test_entropy_code_is_called_only_at_a_weight_above_zero(monkeypatch: pytest.MonkeyPatch, weight: float):
    def forbidden(*arguments: object) -> None:
        raise AssertionError('the entropy was computed')

    monkeypatch.setattr(EntropyRegularizer, 'forward', forbidden)
    quantizer = build(VECTOR, train=True, regularizer=dict(type='EntropyRegularizer', weight=weight))
    if weight:
        with pytest.raises(AssertionError, match='the entropy was computed'):
            quantizer(latents())
    else:
        assert 'entropy' not in quantizer(latents()).losses


def test_projector_is_called_once_a_training_step():
    quantizer, projector = counting(train=True, regularizer=dict(type='EntropyRegularizer', weight=0.1))
    for step in (1, 2, 3):
        sum(quantizer(latents()).losses.values()).backward()
        assert projector.calls == step


@torch.no_grad()
def test_mapped_codebook_in_eval_follows_weights_written_through_data_as_averages_write_them():
    quantizer = build(VECTOR, projector=dict(type='LinearProjector'))
    quantizer.codebook()
    weight = quantizer.projector.map.weight
    weight.data.copy_(2 * weight)
    torch.testing.assert_close(quantizer.codebook(), quantizer.projector.map(quantizer.embedding))


def test_codebook_of_a_quantizer_in_eval_carries_gradients_where_they_are_wanted():
    quantizer = build(VECTOR, projector=dict(type='LinearProjector'))
    quantizer.codebook().sum().backward()
    assert quantizer.embedding.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ('labels_B', 'train', 'message'),
    [
        (torch.zeros(2), True, r'expected int64 labels \(2,\), one per image, got \(2,\) torch.float32'),
        (torch.zeros(3, dtype=torch.int64), True, r'got \(3,\) torch.int64'),
        (torch.zeros(2, dtype=torch.int64), False, 'in eval all images have the one that fold'),
    ],
)
def test_labels_that_fit_no_training_batch_are_refused(labels_B: Tensor, train: bool, message: str):
    quantizer = build(VECTOR, train, projector=dict(type='DiTBridge', patch_size=4, num_classes=3))
    with pytest.raises(UserError, match=message):
        quantizer(latents(), labels_B)


def test_labels_for_a_projector_without_classes_are_refused():
    with pytest.raises(UserError, match='IdentityProjector has no classes and takes no labels'):
        build(VECTOR, train=True)(latents(), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize('axis', [dict(update=dict(type='EMAUpdate')), dict(init=dict(type='KMeansInit'))])
@pytest.mark.parametrize('projector', ['LinearProjector', 'MLPProjector', 'VQBridge'])
def test_what_writes_latents_into_the_raw_codebook_needs_the_identity_projector(axis: dict[str, Any], projector: str):
    with pytest.raises(UserError, match=f'writes latents.*must be the identity, got {projector}'):
        build(VECTOR, projector=dict(type=projector), **axis)
    build(VECTOR, projector=dict(type='Identity'), **axis)


def test_llamagens_normalisation_puts_latents_and_codes_on_the_unit_sphere():
    quantizer, z = build(VECTOR, train=True, normalize=dict(type='L2Normalize')), 5 * latents()
    output = quantizer(z)
    torch.testing.assert_close(quantizer.codebook().norm(dim=1), torch.ones(K))
    torch.testing.assert_close(output.z_BDHW, F.normalize(z, dim=1))
    torch.testing.assert_close(output.z_q_BDHW.norm(dim=1), torch.ones(2, 4, 6))
    cosine = F.cosine_similarity(vectors(z)[:, None], quantizer.embedding[None], dim=-1)
    assert torch.equal(output.codes.indices_BL.flatten(), cosine.argmax(1))


def test_straight_through_can_skip_the_normalisation_but_the_losses_gradient_cannot():
    torch.manual_seed(0)
    z, found = 5 * latents(), {}
    for skip in (False, True):
        normalize = dict(type='L2Normalize', straight_to_latent=skip)
        quantizer = build(dict(VECTOR, init=dict(type='UniformInit')), train=True, normalize=normalize)
        quantizer.embedding.data.copy_(torch.eye(K, D) + 0.1)
        leaf = z.clone().requires_grad_()
        output = quantizer(leaf)
        grad = torch.linspace(-1, 1, z.numel()).view_as(z)
        (straight,) = torch.autograd.grad(output.z_q_BDHW, leaf, grad, retain_graph=True)
        (of_losses,) = torch.autograd.grad(sum(output.losses.values()), leaf)
        found[skip] = output.z_q_BDHW, straight, of_losses
    torch.testing.assert_close(found[True][0], found[False][0])
    assert torch.equal(found[True][1], grad)
    through = vectors(found[False][1])
    assert (through * vectors(z)).sum(1).abs().max() < 1e-5  # along the sphere only
    assert torch.equal(found[True][2], found[False][2])


def test_cosine_search_chooses_by_angle_but_returns_the_raw_code():
    quantizer, z = build(VECTOR, normalize=dict(type='CosineSearch')), latents()
    output = quantizer(z)
    cosine = F.cosine_similarity(vectors(z)[:, None], quantizer.embedding[None], dim=-1)
    assert not torch.equal(cosine.argmax(1), torch.cdist(vectors(z), quantizer.embedding).argmin(1))
    assert torch.equal(output.codes.indices_BL.flatten(), cosine.argmax(1))
    assert torch.equal(vectors(output.z_q_BDHW), quantizer.embedding[cosine.argmax(1)])


def test_a_projector_that_is_a_plain_module_is_refused_with_the_base_class():
    with pytest.raises(UserError, match=r'expected a projector derived from fvq_core.projector.Projector, got Linear'):
        build(VECTOR, projector=nn.Linear(D, D))


def test_projectors_are_found_at_every_depth_but_not_inside_one_another():
    quantizer, projector = counting(train=False)
    wrapped = build(dict(type='ResidualQuantizer', quantizer=VECTOR, depth=2, shared=False))
    assert list(find_projectors(quantizer)) == [projector]
    assert list(find_projectors(wrapped)) == [part.projector for part in wrapped.quantizers]
