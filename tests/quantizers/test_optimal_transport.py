"""Codes by optimal transport: against the plain algorithm in float64, what it does to a collapsed codebook, its limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fvq_core.errors import UserError
from fvq_quantizers import chunked_softmax
from fvq_quantizers.distances import OptimalTransport

from .matrix import VECTOR, D, K, build, latents, vectors

TRANSPORT = dict(type='OptimalTransport')
SHARED = dict(type='VectorQuantizer', codebook_size=K, code_dim=D // 2, distance=TRANSPORT)


def transport_plan(
    z_ND: Tensor, codebook_KD: Tensor, inverse_temperature: float, iterations: int, eps: float
) -> Tensor:
    """Sinkhorn-Knopp on the matrix itself, codes first; rows are latents. With eps as OptVQ's code has it."""
    distance_NK = torch.cdist(z_ND.double(), codebook_KD.double(), compute_mode='donot_use_mm_for_euclid_dist')
    plan_NK = (-inverse_temperature * (distance_NK - distance_NK.min()) / distance_NK.std()).exp()
    plan_NK /= plan_NK.sum() + eps
    for _ in range(iterations):
        plan_NK /= (plan_NK.sum(0, keepdim=True) + eps) * len(codebook_KD)
        plan_NK /= (plan_NK.sum(1, keepdim=True) + eps) * len(z_ND)
    return plan_NK


@given(
    latents=st.integers(1, 60),
    codes=st.integers(2, 40),
    iterations=st.integers(1, 30),
    inverse_temperature=st.floats(0.5, 30.0),
    eps=st.sampled_from([0.0, 1e-8, 1e-3]),
    rows=st.integers(1, 70),
    seed=st.integers(0, 99),
)
def test_assignment_is_that_of_the_plain_algorithm_however_rows_are_cut(
    latents: int, codes: int, iterations: int, inverse_temperature: float, eps: float, rows: int, seed: int
):
    torch.manual_seed(seed)
    z_ND, codebook_KD = torch.randn(latents, D), 0.5 + torch.randn(codes, D)
    plan_NK = transport_plan(z_ND, codebook_KD, inverse_temperature, iterations, eps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked_softmax, 'MAX_SCORES', rows * codes)
        indices_N = OptimalTransport(inverse_temperature, iterations, eps).assign(z_ND, codebook_KD)
    taken_N = plan_NK.gather(1, indices_N[:, None]).squeeze(1)
    torch.testing.assert_close(taken_N, plan_NK.amax(1), rtol=1e-3, atol=0.0)  # ties may go either way


def collapsed(**options: Any) -> Any:
    """A quantizer in train mode of which code 0 is nearest to every latent."""
    quantizer = build(VECTOR, train=True, distance=dict(type='OptimalTransport', **options))
    with torch.no_grad():
        quantizer.embedding[1:] = 3 + quantizer.embedding[1:] / 2
        quantizer.embedding[0] = 0.0
    return quantizer


def test_collapsed_codebook_is_shared_out_evenly_and_every_code_gets_a_gradient():
    quantizer, z = collapsed(inverse_temperature=100.0, iterations=100, eps=0.0), latents(8)
    output = quantizer(z)
    counts_K = output.codes.indices_BL.flatten().bincount(minlength=K)
    share = counts_K.sum() / K
    assert share / 2 < counts_K.min()
    assert counts_K.max() < 2 * share
    output.losses['codebook'].backward()
    assert quantizer.embedding.grad.abs().sum(1).min() > 0


def test_evaluation_takes_the_nearest_code_whatever_else_is_in_the_batch():
    quantizer, z = build(VECTOR, distance=dict(type='OptimalTransport')), latents(8)
    codes = quantizer(z).codes
    nearest_N = torch.cdist(vectors(z), quantizer.codebook()).argmin(1)
    assert torch.equal(codes.indices_BL.flatten(), nearest_N)
    assert torch.equal(quantizer(z[:1]).codes.indices_BL, codes.indices_BL[:1])


def test_length_is_ignored_where_the_search_ignores_it():
    z = latents()
    quantizer = build(VECTOR, distance=dict(type='OptimalTransport'), normalize=dict(type='CosineSearch')).train()
    assert torch.equal(quantizer(z).codes.indices_BL, quantizer(3 * z).codes.indices_BL)


def test_codes_that_are_all_alike_do_not_divide_by_zero():
    assert OptimalTransport().assign(torch.ones(4, D), torch.ones(K, D)).tolist() == [0] * 4


@pytest.mark.parametrize('options', [dict(inverse_temperature=0.0), dict(iterations=0), dict(eps=-1.0)])
def test_numbers_without_meaning_are_refused(options: dict[str, Any]):
    with pytest.raises(UserError, match='inverse_temperature must be above 0, iterations 1 or more'):
        OptimalTransport(**options)


def test_codes_may_be_drawn_by_their_shares():
    z_ND, codebook_KD = torch.randn(6, D).repeat_interleave(500, 0), torch.randn(5, D)
    transport = OptimalTransport(inverse_temperature=2.0, draw=True)
    shares_NK = torch.cat([*transport.log_plan(z_ND, codebook_KD)]).softmax(1)
    drawn_NK = F.one_hot(transport.assign(z_ND, codebook_KD), 5).float()
    torch.testing.assert_close(drawn_NK.view(6, 500, 5).mean(1), shares_NK[::500], atol=0.08, rtol=0.0)


def test_unknown_cost_is_refused():
    with pytest.raises(UserError, match="unknown cost 'squared'; choose from standardized, per_dimension, plain"):
        OptimalTransport(cost='squared')


@pytest.mark.parametrize(('cost', 'scale'), [('per_dimension', D**-0.5), ('plain', 1.0)])
def test_costs_that_keep_the_unit_of_the_distance(cost: str, scale: float):
    z_ND, codebook_KD = torch.randn(30, D), torch.randn(20, D)
    plan_NK = (-10.0 * scale * torch.cdist(z_ND.double(), codebook_KD.double())).exp()
    plan_NK /= plan_NK.sum()
    for _ in range(5):
        plan_NK /= plan_NK.sum(0, keepdim=True) * len(codebook_KD)
        plan_NK /= plan_NK.sum(1, keepdim=True) * len(z_ND)
    assert torch.equal(OptimalTransport(eps=0.0, cost=cost).assign(z_ND, codebook_KD), plan_NK.argmax(1))


def test_at_inference_codes_are_those_of_training_and_survive_folding():
    quantizer = build(
        VECTOR, distance=dict(type='OptimalTransport', at_inference=True), projector=dict(type='LinearProjector')
    )
    z = latents(8)
    codes = quantizer(z).codes.indices_BL
    assert torch.equal(codes, quantizer.train()(z).codes.indices_BL)
    assert not torch.equal(codes[:1], quantizer.eval()(z[:1]).codes.indices_BL)
    folded = quantizer.fold()
    assert folded.distance.takes_batches
    assert folded.depends_on_batch
    assert not build(VECTOR, distance=TRANSPORT).depends_on_batch
    assert torch.equal(codes, folded(z).codes.indices_BL)


def test_heads_of_one_codebook_are_one_transport():
    quantizer = build(dict(type='ProductQuantizer', quantizer=SHARED, groups=2, shared=True)).train()
    z = latents(3)
    parts_ND = torch.cat([vectors(part) for part in z.chunk(2, 1)])
    together = quantizer.quantizer.distance.assign(parts_ND, quantizer.codebook())
    assert torch.equal(quantizer(z).codes.indices_BL.view(-1, 2).t().flatten(), together)


def test_each_depth_of_residual_codes_is_transported():
    quantizer = build(dict(type='ResidualQuantizer', depth=2, quantizer=dict(VECTOR, distance=TRANSPORT))).train()
    z_ND = vectors(z := latents(3))
    codes_LS, codebook_KD = quantizer(z).codes.indices_BL.view(-1, 2), quantizer.codebook()
    first_N = quantizer.quantizer.distance.assign(z_ND, codebook_KD)
    second_N = quantizer.quantizer.distance.assign(z_ND - codebook_KD[first_N], codebook_KD)
    assert torch.equal(codes_LS, torch.stack([first_N, second_N], 1))


def test_codebooks_by_class_are_refused():
    with pytest.raises(UserError, match='OptimalTransport acts on a single codebook for the whole batch'):
        build(VECTOR, distance=TRANSPORT, projector=dict(type='DiTBridge', patch_size=1, num_classes=3))
