"""VAR on a GPU."""

from __future__ import annotations

import pytest
import torch

from fvq_generators.image_generator import ImageGenerator
from fvq_generators.layers.block_causal_attention import by_scale, flex

from ..generators.test_var import tiny_var, tokenizer
from .shares import matching

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_attention_in_one_call_equals_a_call_for_each_scale_with_gradients(dtype: torch.dtype):
    lengths, rng = (1, 4, 9, 16, 25, 36, 64, 100), torch.Generator('cuda').manual_seed(0)
    q, k, v, weights = (torch.randn(2, 4, 255, 64, device='cuda', generator=rng).to(dtype) for _ in range(4))
    results = []
    for attention in (by_scale, flex):
        leaves = [part.detach().requires_grad_() for part in (q, k, v)]
        out = attention(*leaves, lengths, 0.2)
        results.append([out, *torch.autograd.grad((out * weights).sum(), leaves)])
    close = dict(rtol=1e-4, atol=1e-4) if dtype == torch.float32 else dict(rtol=5e-2, atol=5e-2)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, **close)


@torch.no_grad()
def test_samples_are_those_of_the_cpu():
    generator, labels = tiny_var(), torch.arange(64) % 5
    options = dict(seeds=list(range(64)), cfg_scale=2.5, top_k=9, top_p=0.96)
    expected = ImageGenerator(generator, tokenizer()).generator.sample(labels, **options).indices_BL
    model = ImageGenerator(generator, tokenizer()).to('cuda')
    got = model.generator.sample(labels.cuda(), **options).indices_BL
    assert matching(got[:, :1], expected[:, :1]) > 0.97
    assert matching(got, expected) > 0.9
    assert model.sample(labels[:3], seeds=[1, 2, 3], more_smooth=True).isfinite().all()
