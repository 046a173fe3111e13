"""ViT-VQ's second stage: token shift, conditions of several tokens, the unofficial layout, bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_generators import ViTVQTransformer
from fvq_generators.layers.gpt_block import TokenShift
from tests.tiny import build_from_peer

from .test_autoregressive import build, random_codes

NAME = 'ViTVQTransformer'


def peer_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the keys of enhancing-transformers."""
    found = {}
    for key, value in state.items():
        key = key.replace('code_embedding', 'tok_emb_code').replace('condition.table', 'tok_emb_cond')
        key = key.replace('condition_position_embedding', 'pos_emb_cond').replace('position_embedding', 'pos_emb_code')
        key = key.replace('attention_norm', 'ln1').replace('ffn_norm', 'ln2').replace('attention.out', 'attn.proj')
        key = key.replace('ffn.0', 'mlp.p0').replace('ffn.2', 'mlp.p1').replace('token_shift.mix_D', 'attn.time_mix')
        if '.attention.qkv.' in key:
            for name, part in zip(('query', 'key', 'value'), value.chunk(3), strict=True):
                found[key.replace('attention.qkv', f'attn.{name}')] = part
        elif key.startswith('norm'):
            found[f'layer_{key}'] = value
        else:
            found[key] = value[None] if 'pos_emb' in key else value[None, None] if 'time_mix' in key else value
    return found


def test_a_token_is_mixed_with_the_one_before_it():
    shift = TokenShift(3)
    assert shift.mix_D.tolist() == [0.0, 0.5, 1.0]
    x_BLD = torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    assert shift(x_BLD).tolist() == [[[0.0, 1.0, 3.0], [1.0, 3.5, 6.0]]]


@torch.no_grad()
def test_tokens_of_a_condition_see_each_other_and_no_code():
    generator = build(NAME, condition_tokens=3)
    codes, cond = random_codes(generator).indices_BL, torch.tensor([[4, 1, 0], [2, 2, 2], [0, 3, 4]])
    changed = cond.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 5
    one, other = (generator.features(codes, each) for each in (cond, changed))
    assert (one[:, 0] - other[:, 0]).abs().amax(-1).min() > 1e-3
    torch.testing.assert_close(generator.features(codes[:, :0], cond), one[:, :3], rtol=1e-5, atol=1e-5)
    cache = generator.new_cache(3)
    steps = [generator.prefill(cond, cache)] + [generator.step(codes[:, i], cache, 3 + i) for i in range(11)]
    torch.testing.assert_close(torch.stack(steps, 1), generator.logits(one[:, 2:-1]), rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match=r'whole numbers \(B, 3\), got shape \(3,\)'):
        generator.sample(torch.tensor([1, 2, 3]))
    with pytest.raises(UserError, match='class 9 is out of range'):
        generator.sample(torch.full((2, 3), 9))


@pytest.mark.parametrize('changes', [{}, dict(attention_bias=False), dict(ffn_bias=False, condition_tokens=2)])
def test_the_same_generator_comes_back(changes: dict[str, Any]):
    ours = build(NAME, **changes)
    theirs = build_from_peer('vitvq-gpt', peer_state(ours.state_dict()), heads=4, grid=(3, 4))
    assert isinstance(theirs, ViTVQTransformer)
    cond = torch.tensor([[4, 1], [0, 2]]) if 'condition_tokens' in changes else torch.tensor([4, 0])
    assert torch.equal(theirs.sample(cond, seeds=[1, 2]).indices_BL, ours.sample(cond, seeds=[1, 2]).indices_BL)


def test_what_does_not_fit_is_refused():
    state = peer_state(build(NAME).state_dict())
    with pytest.raises(UserError, match='no file says how many heads 32 channels have'):
        build_from_peer('vitvq-gpt', state)
    with pytest.raises(UserError, match='not a second stage of enhancing-transformers'):
        build_from_peer('vitvq-gpt', {'tok_emb_code.weight': torch.zeros(2, 2)})
    with pytest.raises(UserError, match="no setting 'cfg_scale'"):
        build(NAME).sample(torch.tensor([1]), cfg_scale=2.0)
