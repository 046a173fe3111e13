"""What generators read of tokenizers: targets of a batch, and the protocols of quantizers that they bind to."""

import json
from typing import Any

import pytest
import torch

from fvq_core.codes import (
    CodeLayout,
    Codes,
    Grid,
    LatentLayout,
    Latents,
    Pyramid,
    Sequence,
    Targets,
)
from fvq_core.errors import UserError
from fvq_core.quantizer import DepthCodes, NextScale, Quantizer
from fvq_core.registry import QUANTIZERS
from fvq_generators.codes_store.layouts import any_layout_from_dict

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
        Latents(torch.zeros(3, 4, 2, 2), LatentLayout(Grid(2, 2), 4)),
    )
    assert len(Targets(latents=latents)) == 3
    with pytest.raises(UserError, match='expected codes, latents or both, got neither'):
        Targets()
    with pytest.raises(UserError, match='codes of 2 images and latents of 3'):
        Targets(codes, latents=latents)
    with pytest.raises(UserError, match='soft targets belong to codes'):
        Targets(soft=torch.ones(3, 1, 1), latents=latents)


def test_latents_are_normalized_and_back():
    values, layout = torch.tensor([[[[1.0, 3.0]]]]), LatentLayout(Grid(1, 2), 1, scale=0.5, shift=1.0)
    latents = Latents(values, layout)
    assert latents.normalized().flatten().tolist() == [0.0, 1.0]
    assert torch.equal(layout.denormalize(latents.normalized()), values)


@pytest.mark.parametrize('values', [torch.zeros(1, 2, 3), torch.zeros(1, 4, 3, dtype=torch.int64), [1.0]])
def test_what_is_not_a_latent_is_refused(values: Any):
    with pytest.raises(UserError, match=r'Latents: expected a float tensor \(B, 4, 3\), got'):
        Latents(values, LatentLayout(Sequence(3), 4))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(scale=0.0), 'scale is 0'),
        (dict(shift=float('nan')), 'shift is a finite number, got nan'),
        (dict(scale='2'), "scale is a finite number, got '2'"),
        (dict(channels=0), 'sizes are whole numbers from 1 on, got 0'),
        (dict(positions=Pyramid(((1, 1),))), 'expected a Grid or a Sequence'),
    ],
)
def test_wrong_layouts_of_latents_are_refused(arguments: dict[str, Any], message: str):
    with pytest.raises(UserError, match=f'LatentLayout: {message}'):
        LatentLayout(**{**dict(positions=Grid(2, 2), channels=4), **arguments})


@pytest.mark.parametrize('layout', [LatentLayout(Grid(2, 3), 4, 0.18215, -0.5), CodeLayout(Sequence(3), (8, 2))])
def test_layouts_of_both_kinds_survive_json(layout: CodeLayout | LatentLayout):
    assert any_layout_from_dict(json.loads(json.dumps(layout.to_dict()))) == layout


@pytest.mark.parametrize(
    'config',
    [
        VECTOR,
        dict(type='ResidualQuantizer', quantizer={**VECTOR, 'code_dim': 8}, depth=2, space_to_depth=(2, 1)),
        dict(type='MultiScaleQuantizer', quantizer=VECTOR, scales=(1, 2, 4)),
        dict(type='ProductQuantizer', quantizer=VECTOR, groups=2),
    ],
)
def test_the_positions_of_a_latent_are_found_from_the_layout_of_its_codes(config: dict[str, Any]):
    quantizer = build(**config)
    assert quantizer.latent_positions(quantizer.layout(Grid(4, 8))) == Grid(4, 8)
