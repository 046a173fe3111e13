"""The plain loops beside which benchmarks measure sampling: without a cache they draw the codes that ours draws."""

from __future__ import annotations

from typing import Any, cast

import torch

from benchmarks.plain_infinity import PlainInfinity, build_infinity
from benchmarks.sampling_autoregressive import bar
from fvq_core.codes import Codes
from fvq_core.registry import GENERATORS
from fvq_generators import BAR
from fvq_generators.sampling import uniforms

SEEDS = [3, 4]


@torch.no_grad()
def test_bar():
    """With weights so large, and so little noise, that all of the model shows in the codes."""
    torch.manual_seed(0)
    generator: Any = GENERATORS.build(dict(type='BAR') | BAR.smoke({})).eval()
    for parameter in generator.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    classes, settings = torch.tensor([5, 6]), dict(cfg_scale=2.0, temperature=0.1)
    drawn = bar(generator, classes, generator.uniforms(SEEDS), **settings)
    assert torch.equal(drawn, generator.sample(classes, seeds=SEEDS, **settings).indices_BL)
    assert len(drawn.unique()) > 8


@torch.no_grad()
def test_infinity():
    path = 'configs/generation/infinity_layer12_t2i.py'
    generator, settings = build_infinity(path, True, torch.device('cpu'), torch.float32)
    assert generator.caption_shape is not None
    captions = torch.randn(2, *generator.caption_shape)
    plain = PlainInfinity(generator, generator.Sampling.of(settings))
    drawn = plain.sample(captions, uniforms(SEEDS, generator.layout.length))
    assert torch.equal(drawn, cast(Codes, generator.sample(captions, seeds=SEEDS, **settings)).indices_BL)
    assert not torch.equal(drawn[0], drawn[1])
