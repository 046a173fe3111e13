"""What generators read of tokenizers: targets of a batch, and the protocols of quantizers that they bind to."""

import pytest
import torch

from fvq_core.codes import CodeLayout, Codes, Grid, Latents, Targets
from fvq_core.errors import UserError
from fvq_core.quantizer import DepthCodes, NextScale, Quantizer
from fvq_core.registry import QUANTIZERS

VECTOR = dict(type='VectorQuantizer', codebook_size=8, code_dim=4)


def build(**config: object) -> Quantizer:
    return QUANTIZERS.build(config).eval()


def test_only_quantizers_that_keep_a_protocol_are_instances_of_it():
    plain, residual = build(**VECTOR), build(type='ResidualQuantizer', quantizer=VECTOR, depth=2)
    scales = build(type='MultiScaleQuantizer', quantizer=VECTOR, scales=(1, 2))
    assert [isinstance(quantizer, NextScale) for quantizer in (plain, residual, scales)] == [False, False, True]
    assert [isinstance(quantizer, DepthCodes) for quantizer in (plain, residual, scales)] == [False, True, False]


def test_soft_targets_of_a_quantizer_fit_its_codes():
    residual = build(type='ResidualQuantizer', quantizer=VECTOR, depth=2)
    assert isinstance(residual, DepthCodes)
    soft, codes = residual.soft_codes(torch.randn(3, 4, 2, 2))
    targets = Targets(codes, soft)
    assert len(targets) == 3
    with pytest.raises(UserError, match=r'expected soft targets of shape \(3, 8, 8\), got \(3, 8, 7\)'):
        Targets(codes, soft[..., 1:])


def test_targets_name_what_is_missing():
    codes, latents = (
        Codes(torch.zeros(2, 4, dtype=torch.int64), CodeLayout(Grid(2, 2), 8)),
        Latents(torch.zeros(3, 4, 2, 2)),
    )
    assert len(Targets(latents=latents)) == 3
    with pytest.raises(UserError, match='expected codes, latents or both, got neither'):
        Targets()
    with pytest.raises(UserError, match='codes of 2 images and latents of 3'):
        Targets(codes, latents=latents)
    with pytest.raises(UserError, match='soft targets belong to codes'):
        Targets(soft=torch.ones(3, 1, 1), latents=latents)


def test_latents_are_normalized_and_back():
    values = torch.tensor([[[[1.0, 3.0]]]])
    latents = Latents(values, scale=0.5, shift=1.0)
    assert latents.normalized().flatten().tolist() == [0.0, 1.0]
    assert torch.equal(Latents.from_normalized(latents.normalized(), 0.5, 1.0).values, values)


@pytest.mark.parametrize('values', [torch.zeros(1, 2), torch.zeros(1, 2, 3, dtype=torch.int64), [1.0]])
def test_what_is_not_a_latent_is_refused(values: object):
    with pytest.raises(UserError, match=r'Latents: expected a float tensor \(B, D, H, W\) or \(B, D, L\)'):
        Latents(values)  # pyrefly: ignore[bad-argument-type]
    with pytest.raises(UserError, match='scale is 0'):
        Latents(torch.zeros(1, 2, 3), scale=0.0)
