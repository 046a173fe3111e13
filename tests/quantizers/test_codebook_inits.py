"""Start values of the raw codebook: their spread, and k-means."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fvq_core.registry import QUANTIZERS

from .matrix import VECTOR, D, K, build


def test_kmeans_start_recovers_clusters_that_lie_apart():
    centres = torch.tensor([[50.0] * D, [-50.0] * D])
    z_ND = (centres + 0.1 * torch.randn(200, 2, D)).flatten(0, 1)
    quantizer = build(dict(VECTOR, codebook_size=2), init=dict(type='KMeansInit'))
    assert quantizer.needs_latents
    quantizer.initialize(z_ND)
    found = quantizer.embedding.detach()
    torch.testing.assert_close(found[found[:, 0].argsort(descending=True)], centres, atol=0.05, rtol=0)


def test_kmeans_start_makes_every_code_the_mean_of_its_latents():
    z_ND = (5 * torch.randn(K, D) + torch.randn(20, K, D)).flatten(0, 1)
    quantizer = build(VECTOR, init=dict(type='KMeansInit', iterations=100))
    quantizer.initialize(z_ND)
    mine = torch.cdist(z_ND, quantizer.embedding.detach()).argmin(1)
    means = torch.stack([z_ND[mine == k].mean(0) for k in range(K)])
    torch.testing.assert_close(quantizer.embedding.detach(), means, atol=0.05, rtol=0)


def test_kmeans_start_from_fewer_latents_than_codes_uses_each():
    z_ND = torch.randn(5, D)
    quantizer = build(VECTOR, init=dict(type='KMeansInit'))
    quantizer.initialize(z_ND.repeat(3, 1))
    assert torch.cdist(quantizer.embedding.detach(), z_ND).min(1).values.max() == 0
    assert len(quantizer.embedding.unique(dim=0)) == 5


def test_start_values_have_the_promised_spread():
    def start(**init: Any) -> Tensor:
        return QUANTIZERS.build(
            dict(type='VectorQuantizer', codebook_size=512, code_dim=16, init=init)
        ).embedding.detach()

    uniform = start(type='UniformInit')
    assert 0.9 / 512 < uniform.abs().max() <= 1 / 512
    assert start(type='NormalInit').std() == pytest.approx(16**-0.5, rel=0.05)
    assert start(type='NormalInit', std=2.0).std() == pytest.approx(2.0, rel=0.05)
    torch.testing.assert_close(start(type='UniformInit', normalize=True).norm(dim=1), torch.ones(512))
