"""The six figures of the paper's table 10, measured on our modules."""

from __future__ import annotations

import pytest

from fvq_core.registry import PROJECTORS
from fvq_eval.flops import projector_flops, table_10


def test_table_10_within_half_a_percent() -> None:
    rows = table_10()
    assert len(rows) == 6
    for row in rows:
        assert abs(row['relative_difference']) < 0.005, row


@pytest.mark.parametrize('depth', [1, 3])
def test_an_mlp_costs_k_d_squared_a_layer(depth: int) -> None:
    projector = PROJECTORS.build(dict(type='MLPProjector', depth=depth), codebook_size=64, code_dim=16)
    assert projector_flops(projector) == depth * 64 * 16 * 16
