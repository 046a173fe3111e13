"""The MLP projector's widths."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fvq_core.errors import UserError
from fvq_core.registry import PROJECTORS

from .matrix import VECTOR, D, K, build


def widths(**options: int) -> list[tuple[int, int]]:
    projector = PROJECTORS.build(dict(type='MLPProjector', **options), codebook_size=K, code_dim=D)
    return [(layer.in_features, layer.out_features) for layer in projector.layers if isinstance(layer, nn.Linear)]


def test_widths_are_those_of_the_codes_unless_said_otherwise():
    assert widths() == [(D, D)] * 5
    assert widths(depth=3, source_dim=5) == [(5, D), (D, D), (D, D)]
    assert widths(depth=3, hidden_dim=7) == [(D, 7), (7, 7), (7, D)]
    assert widths(depth=1, source_dim=5, hidden_dim=7) == [(5, D)]


def test_vqgan_lc_is_two_linear_maps_around_a_relu():
    options = dict(type='MLPProjector', depth=2, source_dim=24, hidden_dim=256)
    quantizer = build(VECTOR, projector=options)
    assert quantizer.embedding.shape == (K, 24)
    first, second = quantizer.projector.layers[0], quantizer.projector.layers[-1]
    expected = second(first(quantizer.embedding).clamp_min(0))
    torch.testing.assert_close(quantizer.codebook(), expected)


@pytest.mark.parametrize('options', [dict(depth=0), dict(source_dim=0), dict(hidden_dim=-1)])
def test_sizes_below_one_are_refused(options: dict[str, int]):
    with pytest.raises(UserError, match=r'MLPProjector: .* must be'):
        widths(**options)
