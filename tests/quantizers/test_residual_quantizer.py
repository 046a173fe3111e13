"""Residual quantization: each depth quantizes what is left, with a codebook that is mapped once a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Grid
from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS
from fvq_quantizers import ResidualQuantizer

from .matrix import VECTOR, D, K, build, latents, vectors


def residual(depth: int = 4, shared: bool = True, train: bool = False, **axes: Any) -> Any:
    return build(dict(type='ResidualQuantizer', quantizer=dict(VECTOR, **axes), depth=depth, shared=shared), train)


def wrapped(train: bool = False, **options: Any) -> Any:
    """With options of the wrapper itself, depth 2."""
    return build({**dict(type='ResidualQuantizer', quantizer=VECTOR, depth=2), **options}, train)


def by_hand(z_ND: Tensor, codebooks: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Codes (N, depth) and running sums by the definition, in float64."""
    rest, sums, indices = z_ND.double(), [], []
    for codebook_KD in codebooks:
        nearest = torch.cdist(rest, codebook_KD.double()).argmin(1)
        chosen = codebook_KD.double()[nearest]
        rest = rest - chosen
        indices.append(nearest)
        sums.append(z_ND.double() - rest)
    return torch.stack(indices, 1), sums


@pytest.mark.parametrize('shared', [True, False])
@torch.no_grad()
def test_each_depth_takes_the_code_nearest_to_the_residual(shared: bool):
    quantizer, z = residual(shared=shared), latents()
    output = quantizer(z)
    expected, sums = by_hand(vectors(z), quantizer.codebooks())
    assert torch.equal(output.codes.unflatten().view(-1, 4), expected)
    torch.testing.assert_close(vectors(output.z_q_BDHW), sums[-1].float())


@torch.no_grad()
def test_error_never_grows_with_depth_where_zero_is_a_code_and_shrinks_in_the_mean():
    quantizer, z = residual(depth=6), latents(8)
    quantizer.quantizer.embedding[0] = 0.0
    sums = quantizer.embed_depth(quantizer(z).codes, cumulative=True)
    errors = (z[:, None] - sums).square().sum(2).flatten(2).movedim(1, 0).flatten(1)
    assert (errors[1:] <= errors[:-1] + 1e-5).all()
    assert (errors.mean(1).diff() < 0).all()


@torch.no_grad()
def test_depths_add_up_to_the_quantized_latent():
    quantizer, z = residual(shared=False), latents()
    output = quantizer(z)
    parts, sums = (quantizer.embed_depth(output.codes, cumulative=c) for c in (False, True))
    assert parts.shape == (2, 4, D, 4, 6)
    torch.testing.assert_close(parts.sum(1), output.z_q_BDHW)
    torch.testing.assert_close(sums[:, -1], output.z_q_BDHW)
    torch.testing.assert_close(sums.diff(dim=1), parts[:, 1:])


def test_shared_codebook_is_mapped_once_a_step_and_by_whatever_reads_it():
    quantizer = residual(depth=5, train=True, projector=dict(type='LinearProjector'))
    calls: list[int] = []
    quantizer.quantizer.projector.register_forward_hook(lambda *_: calls.append(1))
    for step in (1, 2):
        sum(quantizer(latents()).losses.values()).backward()
        assert len(calls) == step
    with torch.no_grad():
        codes = quantizer.eval()(latents()).codes
        for number, read in enumerate((quantizer.embed, quantizer.embed_depth), 4):
            read(codes)
            assert len(calls) == number


def test_losses_are_means_over_depths_of_the_error_of_the_partial_sums():
    quantizer, z = residual(train=True, loss=dict(type='VQLoss', beta=0.3)), latents()
    losses = quantizer(z).losses
    _, sums = by_hand(vectors(z), [quantizer.codebook().detach()] * 4)
    error = torch.stack([(vectors(z).double() - partial).square().mean() for partial in sums]).mean().item()
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(
        {'commitment': 0.3 * error, 'codebook': error}, rel=1e-5
    )


def test_straight_through_hands_the_decoders_gradient_on_unchanged():
    quantizer, z = residual(train=True), latents().requires_grad_()
    gradient = torch.randn(2, D, 4, 6)
    quantizer(z).z_q_BDHW.backward(gradient)
    assert torch.equal(z.grad, gradient)


@torch.no_grad()
def test_rows_of_separate_codebooks_do_not_overlap():
    quantizer, z = residual(depth=3, shared=False), latents()
    codes = quantizer(z).codes
    rows = quantizer.codebook_indices(codes)
    assert quantizer.codebook().shape == (3 * K, D)
    assert rows.shape == codes.indices_BL.shape
    by_depth = rows.view(2, 24, 3)
    for depth in range(3):
        assert (by_depth[..., depth] // K == depth).all()
        chosen = quantizer.codebooks()[depth][codes.unflatten().view(2, 24, 3)[..., depth]]
        assert torch.equal(quantizer.codebook()[by_depth[..., depth]], chosen)


@torch.no_grad()
def test_shared_codebook_has_one_set_of_rows():
    quantizer = residual(depth=3)
    codes = quantizer(latents()).codes
    assert quantizer.codebook().shape == (K, D)
    assert torch.equal(quantizer.codebook_indices(codes), codes.indices_BL)


def test_ema_updates_of_one_depth_are_seen_by_the_next():
    quantizer = residual(depth=2, train=True, update=dict(type='EMAUpdate', decay=0.5))
    z, before = latents(), quantizer.quantizer.embedding.detach().clone()
    first = torch.cdist(vectors(z), before).argmin(1)
    twin = build(VECTOR, True, update=dict(type='EMAUpdate', decay=0.5))
    twin.load_state_dict(quantizer.quantizer.state_dict())
    twin.update.step(twin.embedding, vectors(z), first)
    second = torch.cdist(vectors(z) - before[first], twin.embedding.detach()).argmin(1)
    expected = torch.stack([first, second], 1)
    assert torch.equal(quantizer(z).codes.unflatten().view(-1, 2), expected)


@torch.no_grad()
def test_soft_codes_are_softmaxes_of_the_distances_and_choose_the_same_codes():
    quantizer, z = residual(depth=2), latents()
    soft, codes = quantizer.soft_codes(z, temperature=0.5)
    assert torch.equal(codes.indices_BL, quantizer(z).codes.indices_BL)
    rest = vectors(z)
    for depth in range(2):
        expected = (-torch.cdist(rest, quantizer.codebook()).square() / 0.5).softmax(1)
        torch.testing.assert_close(soft[:, depth::2].reshape(-1, K), expected, rtol=1e-3, atol=1e-5)
        rest = rest - quantizer.codebook()[codes.unflatten()[..., depth].flatten()]


def test_kmeans_start_gives_each_separate_codebook_the_residuals():
    quantizer = residual(depth=2, shared=False, init=dict(type='KMeansInit', iterations=50))
    z_ND = 3 * torch.randn(K, D).repeat_interleave(30, 0) + 0.2 * torch.randn(30 * K, D)
    quantizer.initialize(z_ND)
    with torch.no_grad():
        first, second = quantizer.codebooks()
        rest = z_ND - first[torch.cdist(z_ND, first).argmin(1)]
        mine = torch.cdist(rest, second).argmin(1)
        means = torch.stack([rest[mine == k].mean(0) for k in range(K)])
        torch.testing.assert_close(second, means, atol=0.05, rtol=0)


def test_parts_that_need_one_codebook_for_the_whole_value_are_refused():
    with pytest.raises(UserError, match='IndexBackpropagation needs the codebook of the quantized value'):
        residual(estimator=dict(type='IndexBackpropagation'))


def test_normalisation_that_would_make_residuals_unit_vectors_is_refused():
    with pytest.raises(UserError, match='L2Normalize'):
        residual(normalize=dict(type='L2Normalize'))


def test_updates_that_act_before_codes_are_chosen_are_refused():
    with pytest.raises(UserError, match='ResidualQuantizer: AlternatingUpdate acts before codes'):
        residual(update=dict(type='AlternatingUpdate'))


def test_depth_and_inner_quantizer_are_checked():
    with pytest.raises(UserError, match='depth must be 1 or more, got 0'):
        residual(depth=0)
    inner = dict(type='ResidualQuantizer', quantizer=VECTOR, depth=2)
    with pytest.raises(UserError, match='wraps a VectorQuantizer, LFQ, BSQ, FSQ or FSP, got ResidualQuantizer'):
        QUANTIZERS.build(dict(type='ResidualQuantizer', quantizer=inner))
    assert isinstance(residual(), nn.Module)


@torch.no_grad()
def test_depths_may_have_codebooks_of_their_own_sizes():
    quantizer, z = wrapped(shared=False, codebook_sizes=[K, 5]), latents()
    codes = quantizer(z).codes
    assert codes.layout.vocabularies == (K, 5)
    assert [tuple(c.shape) for c in quantizer.codebooks()] == [(K, D), (5, D)]
    expected, _ = by_hand(vectors(z), quantizer.codebooks())
    assert torch.equal(codes.unflatten().view(-1, 2), expected)
    assert torch.equal(quantizer.codebook_indices(codes).view(-1, 2), expected + torch.tensor([0, K]))


@torch.no_grad()
def test_soft_codes_give_codes_that_a_depth_lacks_no_share():
    quantizer = wrapped(shared=False, codebook_sizes=[5, K])
    soft, _ = quantizer.soft_codes(latents())
    assert soft.shape == (2, 4 * 6 * 2, K)
    torch.testing.assert_close(soft.sum(-1), torch.ones(2, 4 * 6 * 2))
    assert (soft[:, 0::2, 5:] == 0).all()
    assert (soft[:, 1::2] > 0).all()


@torch.no_grad()
def test_stochastic_codes_are_drawn_from_the_soft_choice_and_their_residual_goes_on():
    quantizer, z = residual(depth=2), latents(1, 1, 1).expand(1, D, 100, 100)
    soft, codes = quantizer.soft_codes(z, temperature=4.0, stochastic=True)
    drawn = codes.unflatten().view(-1, 2)
    frequency = torch.bincount(drawn[:, 0], minlength=K) / len(drawn)
    torch.testing.assert_close(frequency, soft[0, 0], atol=0.02, rtol=0)
    rest = vectors(z)[0] - quantizer.codebook()[drawn[:, 0]]
    expected = (-torch.cdist(rest, quantizer.codebook()).square() / 4.0).softmax(1)
    torch.testing.assert_close(soft.view(-1, 2, K)[:, 1], expected, rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_the_rng_of_soft_codes_decides_the_draw_and_spares_the_global_one():
    quantizer, z = residual(depth=2), latents()
    before = torch.get_rng_state()
    first, again = (quantizer.soft_codes(z, 4.0, True, torch.Generator().manual_seed(5))[1] for _ in range(2))
    assert first == again
    assert torch.equal(torch.get_rng_state(), before)
    assert quantizer.soft_codes(z, 4.0, True, torch.Generator().manual_seed(6))[1] != first


def test_depths_may_have_updates_of_their_own():
    updates = [dict(type='EMAUpdate', decay=decay) for decay in (0.5, 0.75)]
    quantizer = wrapped(True, shared=False, updates=updates)
    codes = quantizer(latents()).codes.unflatten()
    for depth, decay in enumerate((0.5, 0.75)):
        counts = torch.bincount(codes[..., depth].flatten(), minlength=K)
        torch.testing.assert_close(quantizer.at_depth(depth).update.counts_K, decay + (1 - decay) * counts)


@torch.no_grad()
def test_joined_positions_are_quantized_as_one_vector():
    quantizer, z = wrapped(space_to_depth=(2, 1)), latents(dim=D // 2)
    assert quantizer.code_dim == D // 2
    output = quantizer(z)
    assert output.codes.layout == CodeLayout(Grid(2, 6), (K, K))
    joined = torch.cat([vectors(z[:, :, 0::2]), vectors(z[:, :, 1::2])], 1)
    expected, sums = by_hand(joined, quantizer.codebooks())
    assert torch.equal(output.codes.unflatten().view(-1, 2), expected)
    for row in range(2):
        part = sums[-1][:, row * D // 2 : (row + 1) * D // 2].float()
        torch.testing.assert_close(vectors(output.z_q_BDHW[:, :, row::2]), part)
    assert torch.equal(output.z_BDHW, z)
    assert torch.equal(quantizer.embed(output.codes), output.z_q_BDHW)
    assert quantizer.embed_depth(output.codes).shape == (2, 2, D, 2, 6)
    folded = quantizer.fold()
    assert torch.equal(folded(z).z_q_BDHW, output.z_q_BDHW)


def test_gradient_of_joined_positions_stays_where_it_belongs():
    quantizer, z = wrapped(True, space_to_depth=2, quantizer=dict(VECTOR, code_dim=4 * D)), latents().requires_grad_()
    gradient = torch.randn(2, D, 4, 6)
    quantizer(z).z_q_BDHW.backward(gradient)
    assert torch.equal(z.grad, gradient)


@torch.no_grad()
def test_partial_embeddings_select_one_depth_or_add_those_before():
    quantizer = residual(depth=3, shared=False)
    codes = quantizer(latents()).codes
    parts, sums = (quantizer.embed_depth(codes, cumulative=c) for c in (False, True))
    for depth in range(3):
        assert torch.equal(quantizer.embed_partial(codes, depth, cumulative=False), parts[:, depth])
        torch.testing.assert_close(quantizer.embed_partial(codes, depth), sums[:, depth])
    with pytest.raises(UserError, match=r'depth must lie in \[0, 3\), got 3'):
        quantizer.embed_partial(codes, 3)


def test_a_regularizer_reaches_the_latent_through_the_residuals():
    quantizer = residual(train=True, regularizer=dict(type='EntropyRegularizer', weight=1.0, temperature=1.0))
    z = latents().requires_grad_()
    quantizer(z).losses['entropy'].backward()
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(codebook_sizes=[K, K]), 'codebook_sizes needs shared=False'),
        (dict(codebook_sizes=[K], shared=False), 'one entry for each of the 2 depths, got 1'),
        (dict(updates=[{}] * 3, shared=False), 'updates needs shared=False and one entry for each of the 2'),
        (dict(space_to_depth=3), 'divides the code_dim of the wrapped quantizer, 8'),
        (dict(space_to_depth=(2, 0)), r'space_to_depth \(2, 0\) must be'),
        (
            dict(space_to_depth=2, quantizer=dict(VECTOR, init=dict(type='KMeansInit'))),
            'KMeansInit starts from single latents',
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        wrapped(**options)


def test_a_latent_that_positions_do_not_divide_is_refused():
    with pytest.raises(UserError, match='joins 2x2 positions, which do not divide a latent of 4x5'):
        wrapped(space_to_depth=2)(latents(1, 4, 5, D // 4))


def test_smoke_shrinks_every_codebook():
    config = dict(type='ResidualQuantizer', quantizer=VECTOR, depth=2, shared=False, codebook_sizes=[16384, 64])
    assert ResidualQuantizer.smoke(config) == dict(codebook_sizes=[256, 64])
    assert ResidualQuantizer.smoke(dict(type='ResidualQuantizer', quantizer=VECTOR)) == {}


def test_losses_of_residuals_are_those_of_unit_vectors_and_leave_the_latent_alone():
    """ViT-VQGAN's residual option: each residual is normalized, and unit codes are taken from it."""
    unit = dict(VECTOR, normalize=dict(type='L2Normalize'))
    quantizer = wrapped(train=True, quantizer=unit, depth=3, residual_losses=True)
    z = latents().requires_grad_()
    output = quantizer(z)
    residual_ND, unit_KD = vectors(z).detach(), nn.functional.normalize(quantizer.quantizer.embedding, dim=-1)
    indices, terms = [], []
    for _ in range(3):
        compared_ND = nn.functional.normalize(residual_ND, dim=-1)
        indices.append((compared_ND @ unit_KD.T).argmax(1))
        codes_ND = unit_KD[indices[-1]]
        terms.append([(a - b.detach()).square().mean() for a, b in ((compared_ND, codes_ND), (codes_ND, compared_ND))])
        residual_ND = residual_ND - codes_ND
    assert torch.equal(output.codes.unflatten().view(-1, 3), torch.stack(indices, 1))
    commitment, codebook = (torch.stack(each).mean() for each in zip(*terms, strict=True))
    expected = 0.25 * commitment + codebook
    torch.testing.assert_close(output.losses, {'commitment': 0.25 * commitment, 'codebook': codebook})
    torch.testing.assert_close(vectors(output.z_q_BDHW), vectors(z) - residual_ND)
    sum(output.losses.values()).backward(retain_graph=True)
    assert z.grad is None
    (expected_grad,) = torch.autograd.grad(expected, quantizer.quantizer.embedding)
    torch.testing.assert_close(quantizer.quantizer.embedding.grad, expected_grad)
    output.z_q_BDHW.sum().backward()
    assert torch.equal(z.grad, torch.ones_like(z))
