"""Codes by optimal transport: against the plain algorithm in float64, what it does to a collapsed codebook, its limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fvq_core.errors import UserError
from fvq_quantizers import chunked_softmax
from fvq_quantizers.updates.sinkhorn_assignment import SinkhornAssignment

from .matrix import VECTOR, D, K, build, latents, vectors


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
        indices_N = SinkhornAssignment(inverse_temperature, iterations, eps).assign(z_ND, codebook_KD)
    taken_N = plan_NK.gather(1, indices_N[:, None]).squeeze(1)
    torch.testing.assert_close(taken_N, plan_NK.amax(1), rtol=1e-3, atol=0.0)  # ties may go either way


def collapsed(**options: Any) -> Any:
    """A quantizer in train mode of which code 0 is nearest to every latent."""
    quantizer = build(VECTOR, train=True, update=dict(type='SinkhornAssignment', **options))
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
    quantizer, z = build(VECTOR, update=dict(type='SinkhornAssignment')), latents(8)
    codes = quantizer(z).codes
    nearest_N = torch.cdist(vectors(z), quantizer.codebook()).argmin(1)
    assert torch.equal(codes.indices_BL.flatten(), nearest_N)
    assert torch.equal(quantizer(z[:1]).codes.indices_BL, codes.indices_BL[:1])


def test_length_is_ignored_where_the_search_ignores_it():
    z = latents()
    quantizer = build(VECTOR, update=dict(type='SinkhornAssignment'), normalize=dict(type='CosineSearch')).train()
    assert torch.equal(quantizer(z).codes.indices_BL, quantizer(3 * z).codes.indices_BL)


def test_codes_that_are_all_alike_do_not_divide_by_zero():
    assert SinkhornAssignment().assign(torch.ones(4, D), torch.ones(K, D)).tolist() == [0] * 4


@pytest.mark.parametrize('options', [dict(inverse_temperature=0.0), dict(iterations=0), dict(eps=-1.0)])
def test_numbers_without_meaning_are_refused(options: dict[str, Any]):
    with pytest.raises(UserError, match='inverse_temperature must be above 0, iterations 1 or more'):
        SinkhornAssignment(**options)


def test_distance_and_wrappers_that_have_no_transport_are_refused():
    update = dict(type='SinkhornAssignment')
    with pytest.raises(UserError, match='needs the Euclidean distance, got DotProduct; use SquaredL2'):
        build(VECTOR, update=update, distance=dict(type='DotProduct'))
    with pytest.raises(UserError, match='SinkhornAssignment acts before codes are assigned'):
        build(dict(type='ResidualQuantizer', quantizer=dict(VECTOR, update=update)))
