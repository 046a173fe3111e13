"""Samples are drawn in eval mode, and leave every part of a generator in the mode that it was in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from fvq_core.generator import Generator
from fvq_generators.eval_mode import eval_mode

from . import test_autoregressive, test_bar, test_infinity, test_randar, test_rq_transformer, test_var
from .masked_cases import tiny_masked
from .tiny import tiny_generator

CASES: dict[str, tuple[Callable[[], Generator], dict[str, int]]] = {
    'BAR': (test_bar.tiny_bar, {}),
    'Infinity': (test_infinity.tiny_infinity, {}),
    'LlamaGen': (tiny_generator, {}),
    'MaskGIT': (lambda: tiny_masked('original'), {}),
    'MinGPT': (lambda: test_autoregressive.build('MinGPT'), {}),
    'MinGPT, larger': (lambda: test_autoregressive.build('MinGPT'), dict(rows=4)),
    'RandAR': (test_randar.build, dict(steps=4)),
    'RQTransformer': (test_rq_transformer.build, {}),
    'VAR': (test_var.tiny_var, {}),
}


@pytest.mark.parametrize('name', CASES)
def test_a_sample_leaves_each_part_in_its_mode(name: str):
    build, settings = CASES[name]
    generator, cond = build(), torch.tensor([0, 3])
    in_eval = generator.sample(cond, seeds=[1, 2], **settings)
    generator.train().blocks[0].eval()
    modes = [part.training for part in generator.modules()]
    assert {True, False} == set(modes)
    drawn = generator.sample(cond, seeds=[1, 2], **settings)
    assert torch.equal(drawn.indices_BL, in_eval.indices_BL)
    assert [part.training for part in generator.modules()] == modes


def test_modes_come_back_after_an_error():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(2, 2).eval())
    with pytest.raises(RuntimeError, match='cannot be multiplied'), eval_mode(model):
        model(torch.zeros(1, 3))
    assert [part.training for part in model.modules()] == [True, True, False]
