"""LlamaGen's key layout: the same weights under its keys give the same generator back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq.commands import convert
from fvq_core.errors import UserError
from fvq_generators import LlamaGen
from fvq_generators.interop.llamagen import import_generator
from fvq_generators.pretrained import load_generator
from tests.tiny import build_from_peer

from .tiny import tiny_generator


def peer_state(ours: LlamaGen) -> dict[str, Tensor]:
    """The weights under LlamaGen's keys."""
    names = {
        'code_embedding.weight': 'tok_embeddings.weight',
        'condition.table.weight': 'cls_embedding.embedding_table.weight',
        'condition.inner.weight': 'cls_embedding.cap_proj.fc1.weight',
        'condition.outer.weight': 'cls_embedding.cap_proj.fc2.weight',
        'condition.unconditional_TC': 'cls_embedding.uncond_embedding',
        'head.weight': 'output.weight',
    }
    found = {}
    for key, value in ours.state_dict().items():
        theirs = names.get(key, key.replace('blocks.', 'layers.').replace('.ffn.', '.feed_forward.'))
        theirs = theirs.replace('attention.qkv', 'attention.wqkv').replace('attention.out', 'attention.wo')
        theirs = theirs.replace('feed_forward.out', 'feed_forward.w2')
        if 'gate_up' in theirs:
            gate, up = value.chunk(2)
            found[theirs.replace('gate_up', 'w1')], found[theirs.replace('gate_up', 'w3')] = gate, up
        else:
            found[theirs] = value
    return found


@pytest.mark.parametrize(
    'changes',
    [
        {},
        dict(kv_heads=2),
        dict(cond_dropout=0.0),
        dict(caption_dim=6, caption_tokens=4),
        dict(hidden_multiple=256),
        dict(hidden_multiple=1, hidden_factor=1.3),
    ],
)
def test_the_same_generator_comes_back(changes: dict[str, Any]):
    ours = tiny_generator(**changes)
    classes = None if 'caption_dim' in changes else 5
    theirs = build_from_peer('llamagen-gpt', peer_state(ours), heads=4, grid=(3, 4), num_classes=classes)
    assert isinstance(theirs, LlamaGen)
    cond = torch.tensor([1, 4]) if classes else torch.randn(2, 4, 6)
    codes = torch.randint(32, (2, 12))
    with torch.no_grad():
        assert torch.equal(theirs.features(codes, cond), ours.features(codes, cond))
    assert theirs.condition.drop_rate == ours.condition.drop_rate
    assert not theirs.training


def test_the_heads_of_the_published_sizes_are_known():
    state = {
        'tok_embeddings.weight': torch.empty(16384, 1280, device='meta'),
        'cls_embedding.embedding_table.weight': torch.empty(1001, 1280, device='meta'),
    }
    for layer in range(36):
        state[f'layers.{layer}.attention.wqkv.weight'] = torch.empty(3840, 1280, device='meta')
        for key, shape in (('w1', (3584, 1280)), ('w3', (3584, 1280)), ('w2', (1280, 3584))):
            state[f'layers.{layer}.feed_forward.{key}.weight'] = torch.empty(*shape, device='meta')
    config, _ = import_generator(state)
    assert config == dict(
        type='LlamaGen',
        layout=dict(type='Grid', height=16, width=16, codebook_size=16384),
        dim=1280,
        depth=36,
        heads=20,
        num_classes=1000,
        cond_dropout=0.1,
    )


def test_the_command_writes_a_folder_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    ours = tiny_generator()
    # What sampling and training leave in a file of theirs.
    state = {**peer_state(ours), 'layers.0.attention.kv_cache.k_cache': torch.zeros(1)}
    torch.save({'model': state, 'optimizer': {}, 'steps': 7}, tmp_path / 'c2i.pt')
    arguments = ['llamagen-gpt', str(tmp_path / 'c2i.pt'), str(tmp_path / 'out'), '--heads', '4', '--grid', '3', '4']
    assert convert.main(arguments) == 0
    assert re.search(r'LlamaGen with 0 M parameters', capsys.readouterr().out)
    generator, config = load_generator(tmp_path / 'out')
    assert config['weights'] == "llamagen-gpt: c2i.pt, weights of 'model'; left out: optimizer, steps"
    assert config['tokenizer_hash'] == ''
    cond = torch.tensor([0, 3])
    assert torch.equal(generator.sample(cond, seeds=[1, 2]).indices_BL, ours.sample(cond, seeds=[1, 2]).indices_BL)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['llamagen-gpt', 'F', 'OUT'], 'no file says how many heads'),
        (['llamagen-gpt', 'F', 'OUT', '--depth', '4'], "importer of 'llamagen-gpt' has no option 'depth'"),
        (['llamagen', 'F', 'OUT', '--heads', '4'], "importer of 'llamagen' has no option 'heads'"),
        (['llamagen-gtp', 'F', 'OUT'], "unknown peer 'llamagen-gtp'; did you mean 'llamagen-gpt'"),
    ],
)
def test_what_cannot_be_converted_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    torch.save(peer_state(tiny_generator()), tmp_path / 'c2i.pt')
    places = {'F': str(tmp_path / 'c2i.pt'), 'OUT': str(tmp_path / 'out')}
    assert convert.main([places.get(argument, argument) for argument in arguments]) == 2
    assert message in capsys.readouterr().err


def test_files_of_another_layout_or_with_holes_are_refused():
    state = peer_state(tiny_generator())
    with pytest.raises(UserError, match='not a generator in the layout of LlamaGen'):
        build_from_peer('llamagen-gpt', {'encoder.conv_in.weight': torch.zeros(1)})
    with pytest.raises(UserError, match=r'w1\.weight is there without its w3'):
        build_from_peer(
            'llamagen-gpt', {k: v for k, v in state.items() if k != 'layers.1.feed_forward.w3.weight'}, heads=4
        )
    with pytest.raises(UserError, match='unknown key surprise'):
        build_from_peer('llamagen-gpt', {**state, 'surprise': torch.zeros(1)}, heads=4)
    with pytest.raises(UserError, match=r'1 missing \(norm\.weight\)'):
        build_from_peer('llamagen-gpt', {k: v for k, v in state.items() if k != 'norm.weight'}, heads=4)
    with pytest.raises(UserError, match="no option 'head'; did you mean 'heads'"):
        build_from_peer('llamagen-gpt', state, head=4)
