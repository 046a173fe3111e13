"""IBQ's generator: start values, modulations that the cache keeps, the released layout, bad input."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from fvq.commands import convert
from fvq_core.codes import Targets
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_generators import IBQTransformer
from fvq_generators.pretrained import load_generator
from tests.tiny import build_from_peer

from .test_autoregressive import COND, MODELS, build, random_codes

NAME = 'IBQTransformer'


def peer_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under IBQ's keys."""
    found = {}
    for key, value in state.items():
        key = key.replace('code_embedding', 'tok_emb').replace('condition.table', 'class_emb.embedding_table')
        key = key.replace('attention.qkv', 'attention.wqkv').replace('attention.out', 'attention.wo')
        key = key.replace('.ffn.out', '.feed_forward.w2').replace('.modulation.linear', '.ada_lin.1')
        key = key.replace('norm.norm.weight', 'head_nm.rmsnorm.weight').replace('norm.ada_lin', 'head_nm.ada_lin')
        if key.endswith('.ffn.gate_up.weight'):
            gate, up = value.chunk(2)
            block = key.removesuffix('.ffn.gate_up.weight')
            found[f'{block}.feed_forward.w1.weight'], found[f'{block}.feed_forward.w3.weight'] = gate, up
        else:
            found[key] = value
    return found


def test_the_start_values_are_the_released_ones():
    config = {**MODELS[NAME], 'dim': 64, 'gate_init': 1e-3}
    generator = cast(IBQTransformer, GENERATORS.build(config))
    assert generator.head.weight.abs().max() == 0
    linear = generator.get_parameter('blocks.1.modulation.linear.weight')
    assert linear[:128].std().item() == pytest.approx(2e-5, rel=0.1)
    assert linear[128:].std().item() == pytest.approx(0.01, rel=0.1)
    assert generator.get_parameter('norm.modulation.linear.weight').std().item() == pytest.approx(0.01, rel=0.1)
    assert generator.get_parameter('blocks.1.modulation.linear.bias').abs().max() == 0
    loss = generator.loss(Targets(random_codes(generator)), COND)['cross_entropy']
    assert loss.item() == pytest.approx(math.log(32), rel=1e-6)


def test_a_dropped_class_changes_the_first_token_and_the_norms():
    generator = build(NAME, cond_dropout=0.5)
    codes = random_codes(generator).indices_BL
    with torch.no_grad():
        logits = generator.features(codes[:, :-1], COND)
        none = generator.features(codes[:, :-1], torch.full_like(COND, 5))
        generator.norm.modulation.linear.weight.zero_()  # what is left comes from blocks and first token
        without_head = generator.features(codes[:, :-1], COND)
    assert (logits - none).abs().amax(-1).min() > 1e-3
    assert (logits - without_head).abs().amax(-1).min() > 1e-3


def test_steps_read_the_modulation_from_the_cache_and_do_not_compute_it(monkeypatch: pytest.MonkeyPatch):
    generator = build(NAME)
    calls: list[int] = []
    for number, block in enumerate([*generator.blocks, generator.norm]):
        block.modulation.register_forward_hook(lambda *_, number=number: calls.append(number))
    generator.sample(COND, cfg_scale=2.0)
    assert calls == [0, 1, 2]


@pytest.mark.parametrize('changes', [{}, dict(cond_dropout=0.3)])
def test_the_same_generator_comes_back_from_a_lightning_file(changes: dict[str, Any], tmp_path: Path):
    ours = build(NAME, **changes)
    state = {f'transformer.{key}': value for key, value in peer_state(ours.state_dict()).items()}
    state['first_stage_model.encoder.conv_in.weight'] = torch.zeros(2, 2)
    torch.save({'state_dict': state, 'global_step': 7}, tmp_path / 'AR_256_B.ckpt')
    arguments = ['ibq-gpt', str(tmp_path / 'AR_256_B.ckpt'), str(tmp_path / 'out'), '--heads', '4', '--grid', '3', '4']
    assert convert.main(arguments) == 0
    theirs, _ = load_generator(tmp_path / 'out')
    assert isinstance(theirs, IBQTransformer)
    for options in ({}, dict(cfg_scale=2.0)):
        drawn = [each.sample(COND, seeds=[1, 2, 3], **options).indices_BL for each in (ours, theirs)]
        assert torch.equal(*drawn)


def test_what_does_not_fit_is_refused():
    state = peer_state(build(NAME).state_dict())
    with pytest.raises(UserError, match='no file says how many heads 32 channels have'):
        build_from_peer('ibq-gpt', state)
    with pytest.raises(UserError, match='not a generator in the layout of IBQ'):
        build_from_peer('ibq-gpt', {'tok_emb.weight': torch.zeros(2, 2)})
    shared = {key: value for key, value in state.items() if '.ada_lin' not in key or 'head' in key}
    with pytest.raises(UserError, match='blocks that share their adaptive norms'):
        build_from_peer('ibq-gpt', shared, heads=4)
    for options, message in (
        (dict(drop_path=1.0), r'drop_path must lie in \[0, 1\)'),
        (dict(heads=3), 'heads must divide dim'),
        (dict(layout=dict(type='Pyramid', scales=[(1, 1), (2, 2)], codebook_size=8)), 'IBQTransformer takes a Grid'),
    ):
        with pytest.raises(UserError, match=message):
            GENERATORS.build({**MODELS[NAME], **options})
    with pytest.raises(UserError, match='needs a model that was trained with cond_dropout'):
        build(NAME, cond_dropout=0.0).sample(COND, cfg_scale=2.0)
