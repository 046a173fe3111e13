"""RAR: orders while it trains, targets and places, the released layout, bad input."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from fvq.commands import convert
from fvq_core.codes import Targets
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_generators import RAR
from fvq_generators.hooks import RandomOrderHook
from fvq_generators.interop.rar import PARTS
from fvq_generators.pretrained import load_generator
from tests.tiny import build_from_peer

from .test_autoregressive import COND, MODELS, build, random_codes

ORDER = torch.tensor([7, 3, 11, 0, 1, 10, 2, 5, 4, 9, 8, 6])


def peer_state(ours: RAR) -> dict[str, Tensor]:
    """The weights under RAR's keys, with the rows that its tables have beside."""
    state, found = ours.state_dict(), {}
    mask, spare = torch.randn(1, 32), torch.randn(5, 32)
    found['embeddings.weight'] = torch.cat(
        [state.pop('code_embedding.weight'), mask, state.pop('condition.table.weight')]
    )
    found['cls_token'] = state.pop('start_D')[None, None]
    found['pos_embed'] = torch.cat([state.pop('position_embedding'), spare])[None]
    found['target_aware_pos_embed'] = torch.cat([spare[:2], state.pop('target_embedding'), spare])[None]
    found['timesteps_embeddings'] = torch.cat([state.pop('place_embedding'), spare])[None]
    for key, value in state.items():
        if key.startswith('norm.'):
            key = key.replace('norm.modulation.linear', 'adaln_before_head.adaLN_modulation.1')
        elif '.modulation.linear.' in key:
            parts = value.chunk(6)
            value = torch.cat([parts[PARTS.index(number)] for number in range(6)])
            key = key.replace('modulation.linear', 'adaLN_modulation.1')
        key = key.replace('attention_norm', 'norm1').replace('ffn_norm', 'norm2').replace('attention.out', 'attn.proj')
        key = key.replace('attention.', 'attn.').replace('ffn.inner', 'mlp.fc1').replace('ffn.outer', 'mlp.fc2')
        found[key.replace('head.', 'lm_head.') if key.startswith('head.') else key] = value
    return found


@torch.no_grad()
def test_a_code_depends_on_its_own_place_the_next_and_those_before_it_in_the_order():
    generator = cast(Any, build('RAR'))
    order, indices_BL = ORDER.expand(3, -1), random_codes(build('RAR')).indices_BL
    one = generator.features(indices_BL[:, :-1], COND, order)
    changed = indices_BL.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 32
    other = generator.features(changed[:, :-1], COND, order)
    torch.testing.assert_close(one[:, :6], other[:, :6], rtol=0, atol=1e-6)  # start, class, four codes
    assert (one[:, 6:] - other[:, 6:]).abs().amax(-1).min() > 1e-4
    swapped = order.clone()
    swapped[:, [5, 6]] = order[:, [6, 5]]
    moved = generator.features(indices_BL[:, :-1], COND, swapped)
    torch.testing.assert_close(one[:, :6], moved[:, :6], rtol=0, atol=1e-6)
    assert (one[:, 6] - moved[:, 6]).abs().amax(-1).min() > 1e-4  # told that another place is next


def test_training_reads_a_share_of_the_images_in_random_orders_and_evaluation_none():
    generator = cast(Any, build('RAR'))
    orders: list[Tensor] = []
    whole = generator.features
    generator.features = lambda codes, cond, order: orders.append(order) or whole(codes, cond, order)
    codes, cond = random_codes(generator, 400), torch.zeros(400, dtype=torch.int64)
    reading = torch.arange(12)
    for share in (1.0, 0.3, 0.0):
        generator.random_share = share
        generator.train().loss(Targets(codes), cond)
        order = orders[-1] if share else reading.expand(400, -1)
        assert (order.sort(1).values == reading).all()
        assert (order != reading).any(1).float().mean().item() == pytest.approx(share, abs=0.08)
    assert orders[-1] is None
    generator.random_share = 1.0
    generator.eval().loss(Targets(codes), cond)
    assert orders[-1] is None


def test_the_hook_lets_the_share_fall_along_the_run():
    hook, generator = RandomOrderHook(), build('RAR')
    runner = SimpleNamespace(task=SimpleNamespace(generator=generator), iter=0, max_iters=400)
    hook.before_train(runner)
    shares = []
    for runner.iter in (0, 199, 200, 225, 250, 300, 399):
        hook.before_train_iter(runner, 0)
        shares.append(cast(RAR, generator).random_share)
    assert shares == pytest.approx([1.0, 1.0, 1.0, 0.75, 0.5, 0.0, 0.0])
    assert [RandomOrderHook(0.5, 0.5).share(progress) for progress in (0.4, 0.5)] == [1.0, 0.0]
    with pytest.raises(UserError, match='need 0 <= start <= end <= 1'):
        RandomOrderHook(0.8, 0.5)
    runner.task.generator = build('MinGPT')
    with pytest.raises(UserError, match='RAR and BAR have orders, this run trains MinGPT'):
        hook.before_train(runner)


@torch.no_grad()
def test_guidance_rises_along_a_cosine_of_a_power():
    generator = cast(Any, build('RAR'))
    drawn = generator.sample(COND, temperature=0, cfg_scale=4.0, cfg_power=2.0).indices_BL
    logits = [
        generator.logits(generator.features(drawn[:, :-1], each)[:, 1:]) for each in (COND, torch.full_like(COND, 5))
    ]
    scales = 1 + 3 * (1 - torch.cos(torch.pi * (torch.arange(12)[:, None] / 12) ** 2)) / 2
    assert torch.equal(drawn, (logits[1] + (logits[0] - logits[1]) * scales).argmax(-1))


def test_the_same_generator_comes_back(tmp_path: Path):
    ours = cast(RAR, build('RAR'))
    torch.save(peer_state(ours), tmp_path / 'rar_b.bin')
    arguments = ['rar', str(tmp_path / 'rar_b.bin'), str(tmp_path / 'out'), '--heads', '4', '--grid', '3', '4']
    assert convert.main(arguments) == 0
    theirs, _ = load_generator(tmp_path / 'out')
    assert isinstance(theirs, RAR)
    options: dict[str, Any] = dict(seeds=[1, 2, 3], cfg_scale=3.0)
    assert theirs.sample(COND, **options) == ours.sample(COND, **options)


def test_what_does_not_fit_is_refused():
    state = peer_state(cast(RAR, build('RAR')))
    with pytest.raises(UserError, match='no file says how many heads 32 channels have'):
        build_from_peer('rar', state)
    with pytest.raises(UserError, match='not a generator in the layout of RAR'):
        build_from_peer('rar', {'lm_head.weight': torch.zeros(2, 2)})
    generator = build('RAR')
    with pytest.raises(UserError, match='RAR: an order is a permutation of the 12 positions'):
        generator.loss(Targets(random_codes(generator)), COND, torch.zeros(3, 12, dtype=torch.int64))
    with pytest.raises(UserError, match=r'cond_dropout must lie in \[0, 1\)'):
        GENERATORS.build({**MODELS['RAR'], 'cond_dropout': 1.0})
