"""What every autoregressive generator of one code a position must keep: order, cache, seeds, completion, start, memory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from fvq_core.codes import Codes, Targets
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_generators import OpenMAGVIT2Transformer
from fvq_generators.cached_generator import CachedGenerator
from fvq_generators.pretrained import load_generator, save_generator

from .tiny import GRID, SEQUENCE

SIZE = dict(dim=32, depth=2, heads=4)
MODELS: dict[str, dict[str, Any]] = {
    'MinGPT': dict(type='MinGPT', layout=GRID, num_classes=5, **SIZE),
    'IBQTransformer': dict(type='IBQTransformer', layout=GRID, num_classes=5, hidden_multiple=8, **SIZE),
    'MinGPT unconditional': dict(type='MinGPT', layout=SEQUENCE, num_classes=None, **SIZE),
}
MODELS['OpenMAGVIT2Transformer'] = dict(
    type='OpenMAGVIT2Transformer', layout=GRID, factors=(8, 4), inner_depth=1, num_classes=5, hidden_multiple=8, **SIZE
)
MODELS['RAR'] = dict(type='RAR', layout=GRID, num_classes=5, width=64, **SIZE)
MODELS['ViTVQTransformer'] = dict(type='ViTVQTransformer', layout=GRID, num_classes=5, **SIZE)
GUIDED = ('IBQTransformer', 'RAR', 'OpenMAGVIT2Transformer')
DROPOUT = {name: dict(token_dropout=0.2) for name in MODELS if 'MinGPT' in name} | {
    'ViTVQTransformer': dict(dropout=0.2)
}
COND = torch.tensor([4, 1, 0])


def build(name: str, std: float = 0.3, **changes: Any) -> CachedGenerator:
    """In eval mode, with weights so large that every position and condition shows in the logits."""
    torch.manual_seed(0)
    generator = GENERATORS.build({**MODELS[name], **changes})
    for parameter in generator.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=std)
    return cast(CachedGenerator, generator.eval())


def random_codes(generator: CachedGenerator, batch: int = 3) -> Codes:
    rng = torch.Generator().manual_seed(3)
    return Codes(
        torch.randint(generator.layout.vocab_size, (batch, generator.layout.length), generator=rng), generator.layout
    )


def whole(generator: CachedGenerator, indices_BL: Tensor, cond: Tensor) -> Tensor:
    """Logits of every code, from one pass."""
    x_BLD = generator.features(indices_BL[:, :-1], cond)[:, generator.condition.tokens - 1 :]
    return joint(generator, x_BLD) if isinstance(generator, OpenMAGVIT2Transformer) else generator.logits(x_BLD)


def joint(generator: OpenMAGVIT2Transformer, x: Tensor) -> Tensor:
    """Log-probabilities (..., V) of whole codes that are drawn in two parts, from features (..., D)."""
    x_ND, (F, G) = x.reshape(-1, x.shape[-1]), generator.factors
    found = x_ND.new_empty(len(x_ND), G, F)
    for part in range(F):
        known_ND = generator.first_embedding.weight[part].expand_as(x_ND)
        one_ND, two_ND = generator.inner(torch.stack([x_ND, known_ND], 1)).unbind(1)
        first = generator.head(one_ND).log_softmax(-1)[:, part, None]
        found[:, :, part] = first + generator.second_head(two_ND).log_softmax(-1)
    return found.flatten(1).view(*x.shape[:-1], F * G)


@pytest.mark.parametrize('name', MODELS)
@torch.no_grad()
def test_logits_with_the_cache_equal_those_without_at_any_split_and_in_static_shapes(name: str):
    generator = build(name)
    codes = random_codes(generator)
    expected, L = whole(generator, codes.indices_BL, COND), generator.layout.length
    for known in (0, 1, 4):
        for static in (False, True):
            cache = generator.new_cache(3)
            cache.kept.fill_(7.0)  # what an earlier batch left there
            found = [generator.prefill(COND, cache, known_BL=codes.indices_BL[:, :known] if known else None)]
            for number in range(known, L - 1):
                position: Any = generator.condition.tokens + number
                position = torch.tensor([position]) if static else position
                found.append(generator.step(codes.indices_BL[:, number], cache, position))
            if isinstance(generator, OpenMAGVIT2Transformer):  # steps give features
                found = [joint(generator, x_BD) for x_BD in found]
            torch.testing.assert_close(torch.stack(found, 1), expected[:, known:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', MODELS)
@torch.no_grad()
def test_a_code_depends_on_those_before_it_and_on_no_later_one(name: str):
    generator = build(name)
    indices_BL = random_codes(generator).indices_BL
    changed_BL = indices_BL.clone()
    changed_BL[:, 3] = (changed_BL[:, 3] + 1) % 32
    one, other = (whole(generator, each, COND) for each in (indices_BL, changed_BL))
    torch.testing.assert_close(one[:, :4], other[:, :4], rtol=0, atol=1e-6)
    assert (one[:, 4:] - other[:, 4:]).abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize('name', MODELS)
def test_a_sample_does_not_depend_on_its_batch_nor_on_compilation(name: str):
    generator = build(name)
    seeds, options = [11, 2**40, 11], dict(cfg_scale=2.0) if name in GUIDED else {}
    together = generator.sample(COND, seeds=seeds, **options)
    alone = [generator.sample(COND[i : i + 1], seeds=seeds[i : i + 1], **options).indices_BL for i in range(3)]
    assert torch.equal(together.indices_BL, torch.cat(alone))
    assert len(together.indices_BL.unique(dim=0)) >= 2
    torch._dynamo.reset()  # the models of other tests share the code of a step, and count for its limit of recompilations
    compiled = generator.sample(COND, seeds=seeds, compile='aot_eager', **options)
    assert torch.equal(compiled.indices_BL, together.indices_BL)


@pytest.mark.parametrize('name', MODELS)
@torch.no_grad()
def test_given_codes_stay_and_the_others_follow_from_those_before(name: str):
    generator = build(name)
    given, L = random_codes(generator), generator.layout.length
    keep_BL = torch.zeros(3, L, dtype=torch.bool)
    keep_BL[:, :3] = True
    keep_BL[1, 5] = True
    drawn = generator.sample(COND, temperature=0, given=given, keep_BL=keep_BL).indices_BL
    assert torch.equal(drawn[keep_BL], given.indices_BL[keep_BL])
    logits_BLV = whole(generator, drawn, COND)
    if isinstance(generator, OpenMAGVIT2Transformer):  # the likeliest first part, then the likeliest second
        parts = logits_BLV.unflatten(-1, (4, 8))
        first = parts.exp().sum(-2).argmax(-1)
        logits_BLV = torch.where(torch.arange(32) % 8 == first[..., None], logits_BLV, -torch.inf)
    greedy = logits_BLV.argmax(-1)
    assert torch.equal(drawn[~keep_BL], greedy[~keep_BL])
    assert torch.equal(
        generator.sample(COND, given=given, keep_BL=torch.ones_like(keep_BL)).indices_BL, given.indices_BL
    )
    with pytest.raises(UserError, match='keep_BL is a bool tensor'):
        generator.sample(COND, given=given, keep_BL=keep_BL[:, :2])


@pytest.mark.parametrize('name', MODELS)
def test_dropout_acts_only_in_training_and_the_loss_is_the_mean_cross_entropy(name: str):
    generator = build(name, **DROPOUT.get(name, {}))
    codes = random_codes(generator)
    expected = torch.nn.functional.cross_entropy(
        whole(generator, codes.indices_BL, COND).flatten(0, 1), codes.indices_BL.flatten()
    )
    for checkpointing in (False, True):
        generator.checkpointing = checkpointing
        torch.testing.assert_close(generator.loss(Targets(codes), COND)['cross_entropy'], expected)
    assert not torch.equal(generator.train().loss(Targets(codes), COND)['cross_entropy'], expected)


@pytest.mark.parametrize('name', MODELS)
def test_it_memorizes_a_few_images_and_draws_them(name: str, tmp_path: Path):
    torch.manual_seed(0)
    generator = cast(CachedGenerator, GENERATORS.build(MODELS[name]))
    if generator.num_classes == 1:
        codes, cond = random_codes(generator, 1), torch.zeros(1, dtype=torch.int64)
    else:
        codes, cond = random_codes(generator), torch.arange(3)
    first = generator.eval().loss(Targets(codes), cond)['cross_entropy'].item()
    assert first == pytest.approx(math.log(32), abs=0.3)
    optimizer = torch.optim.AdamW(generator.parameters(), lr=1e-2)
    # At a rate that stays so high, the three blocks of OpenMAGVIT2Transformer jump out of what they have learned.
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=120)
    for _ in range(120):
        optimizer.zero_grad()
        generator.train().loss(Targets(codes), cond)['cross_entropy'].backward()
        optimizer.step()
        schedule.step()
    assert generator.eval().loss(Targets(codes), cond)['cross_entropy'].item() < 0.02  # from 3.5
    assert torch.equal(generator.sample(cond, temperature=0).indices_BL, codes.indices_BL)
    save_generator(generator, generator.state_dict(), tmp_path / 'saved')
    loaded, _ = load_generator(tmp_path / 'saved')
    assert torch.equal(
        loaded.sample(cond, seeds=[5] * len(cond)).indices_BL, generator.sample(cond, seeds=[5] * len(cond)).indices_BL
    )
