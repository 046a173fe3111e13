"""Packed weights change the speed of a CPU's products and nothing else."""

from __future__ import annotations

import pytest
import torch

from fvq_generators import decoding
from fvq_generators.packed_linears import PackedLinears

from .tiny import tiny_generator

LONG = dict(type='Grid', height=4, width=5, codebook_size=32)


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason='there is no MKL here')
@torch.no_grad()
def test_packed_layers_give_the_same_products_and_leave_no_trace():
    model = torch.nn.Sequential(torch.nn.Linear(48, 96, bias=False), torch.nn.Linear(96, 8))
    inputs = {rows: torch.randn(rows, 1, 48) for rows in (2, 4, 5)}
    expected = {rows: model(x) for rows, x in inputs.items()}
    with PackedLinears(model) as packed:
        packed.use(4)
        assert 'forward' in model[0].__dict__
        assert 'forward' not in model[1].__dict__  # it has a bias
        for rows, x in inputs.items():
            torch.testing.assert_close(model(x), expected[rows])
        packed.use(2)
        assert 'forward' not in model[0].__dict__
        packed.use(5)
        torch.testing.assert_close(model(inputs[5]), expected[5])
    assert torch.equal(model(inputs[4]), expected[4])
    assert list(model.state_dict()) == ['0.weight', '1.weight', '1.bias']


def test_other_dtypes_are_left_alone():
    model = torch.nn.Linear(8, 8, bias=False).double()
    with PackedLinears(model) as packed:
        packed.use(4)
        assert 'forward' not in model.__dict__


def test_samples_are_the_same_with_packing_and_without(monkeypatch: pytest.MonkeyPatch):
    generator = tiny_generator(layout=LONG)
    used: list[int] = []
    use = PackedLinears.use
    monkeypatch.setattr(PackedLinears, 'use', lambda self, rows: (used.append(rows), use(self, rows))[1])

    def draw() -> torch.Tensor:
        return generator.sample(torch.arange(4), seeds=range(4), cfg_scale=2.0, cfg_interval=9).indices_BL

    packed = draw()
    assert set(used) == {8, 4}
    monkeypatch.setattr(decoding, 'MIN_CODES_TO_PACK', 1000)
    assert torch.equal(draw(), packed)
