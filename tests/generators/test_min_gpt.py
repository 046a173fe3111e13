"""minGPT: shared rows of classes and codes, corrupted codes, larger images in windows, the released layout, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq.commands import convert
from fvq_core.codes import Codes, Grid
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_generators.pretrained import load_generator
from tests.tiny import build_from_peer

from .test_autoregressive import COND, MODELS, build, random_codes

UNCONDITIONAL = 'MinGPT unconditional'


def peer_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the keys of taming-transformers, with the masks that its files hold."""
    found = {}
    for key, value in state.items():
        key = key.replace('code_embedding', 'tok_emb').replace('position_embedding', 'pos_emb')
        key = key.replace('attention_norm', 'ln1').replace('ffn_norm', 'ln2').replace('ffn', 'mlp')
        key = key.replace('attention.out', 'attn.proj')
        if key.startswith('norm'):
            key = key.replace('norm', 'ln_f')
        if '.attention.qkv.' in key:
            for name, part in zip(('query', 'key', 'value'), value.chunk(3), strict=True):
                found[key.replace('attention.qkv', f'attn.{name}')] = part
        else:
            found[key] = value[None] if key == 'pos_emb' else value
    found['blocks.0.attn.mask'] = torch.ones(1, 1, 12, 12).tril()
    return found


def test_a_class_is_the_row_of_a_code_and_no_class_the_row_of_code_0():
    generator = build('MinGPT')
    expected = generator.code_embedding.weight[COND][:, None] + generator.position_embedding[:1]
    assert torch.equal(generator.condition_tokens(COND), expected)
    free = build(UNCONDITIONAL)
    assert free.num_classes == 1
    free.check_condition(torch.tensor([812]))  # labels of a data set are not looked at
    assert torch.equal(free.condition_tokens(COND), free.condition_tokens(torch.zeros(3, dtype=torch.int64)))
    assert torch.equal(
        free.sample(COND, seeds=[1, 1, 1]).indices_BL.unique(dim=0), free.sample(COND[:1], seeds=[1]).indices_BL
    )


def test_training_reads_a_share_of_random_codes_and_evaluation_none():
    generator = build('MinGPT', code_dropout=0.25)
    indices_BL = torch.full((500, 12), 31)
    assert torch.equal(generator.inputs(indices_BL), indices_BL[:, :-1])
    read = generator.train().inputs(indices_BL)
    assert (read != 31).float().mean().item() == pytest.approx(0.25 * 31 / 32, abs=0.02)
    assert set(read.unique().tolist()) == set(range(32))


@torch.no_grad()
def test_a_larger_image_is_drawn_code_by_code_from_the_window_around_it():
    generator = build('MinGPT', layout=dict(type='Grid', height=2, width=4, codebook_size=32))
    drawn = generator.sample(COND, temperature=0, rows=3, columns=7)
    assert drawn.layout.positions == Grid(3, 7)
    codes = drawn.unflatten()
    for row in range(3):
        for column in range(7):
            top, left = min(max(row - 1, 0), 1), min(max(column - 2, 0), 3)
            window = codes[:, top : top + 2, left : left + 4].flatten(1)
            known = (row - top) * 4 + column - left
            logits = generator.logits(generator.features(window[:, :known], COND)[:, -1])
            assert torch.equal(codes[:, row, column], logits.argmax(-1)), (row, column)
    seeds, sizes = [4, 5, 6], dict(rows=3, columns=7, top_k=9)
    together = generator.sample(COND, seeds=seeds, **sizes).indices_BL
    alone = [generator.sample(COND[i : i + 1], seeds=seeds[i : i + 1], **sizes).indices_BL for i in range(3)]
    assert torch.equal(together, torch.cat(alone))
    same = generator.sample(COND, seeds=seeds, rows=2).indices_BL
    assert torch.equal(same, generator.sample(COND, seeds=seeds).indices_BL)


BAD: list[tuple[dict[str, Any], str]] = [
    (dict(rows=2, columns=9), 'at least as large as trained, 3 x 4 codes; got 2 x 9'),
    (dict(rows=6, keep_BL=torch.ones(3, 12, dtype=torch.bool)), 'keep_BL goes with the trained size'),
    (dict(rows=6, cond=[1, 2, 3]), 'conditions are a tensor, got list'),
    (dict(rows=6, compile=True), 'compile goes with the trained size'),
    (dict(columns=-1), 'columns must be a whole number from 0'),
    (dict(cfg_scale=2.0), "no setting 'cfg_scale'"),
    (dict(cond=torch.tensor([5])), 'class 5 is out of range'),
]


@pytest.mark.parametrize(('options', 'message'), BAD, ids=lambda value: str(value)[:30])
def test_what_cannot_be_sampled_is_refused(options: dict[str, Any], message: str):
    generator = build('MinGPT')
    with pytest.raises(UserError, match=message):
        generator.sample(**{'cond': COND, **options})


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match='MinGPT: rows and columns belong to a Grid'):
        build(UNCONDITIONAL).sample(COND, rows=9)
    for options, message in (
        (dict(num_classes=33), 'classes share the table of the codes, and 33 do not fit 32'),
        (dict(code_dropout=1.0), r'code_dropout must lie in \[0, 1\)'),
        (dict(positions=11), '11 positions do not hold 12 tokens'),
        (dict(layout=dict(type='Grid', height=2, width=2, codebook_size=[8, 8])), 'MinGPT takes a Grid or Sequence'),
        (dict(heads=5), 'heads must divide dim'),
    ):
        with pytest.raises(UserError, match=message):
            GENERATORS.build({**MODELS['MinGPT'], **options})
    generator = build('MinGPT')
    with pytest.raises(UserError, match='given goes with the trained size'):
        generator.sample(COND, rows=6, given=random_codes(generator), keep_BL=torch.ones(3, 12, dtype=torch.bool))


@pytest.mark.parametrize('name', ['MinGPT', UNCONDITIONAL])
def test_the_same_generator_comes_back_from_a_lightning_file(name: str, tmp_path: Path):
    ours = build(name, layout=MODELS['MinGPT']['layout'])
    state = {f'transformer.{key}': value for key, value in peer_state(ours.state_dict()).items()}
    state['first_stage_model.encoder.conv_in.weight'] = torch.zeros(2, 2)
    torch.save({'state_dict': state, 'global_step': 7}, tmp_path / 'last.ckpt')
    peer = 'taming-gpt' + '-unconditional' * (name == UNCONDITIONAL)
    arguments = [peer, str(tmp_path / 'last.ckpt'), str(tmp_path / 'out'), '--heads', '4', '--grid', '3', '4']
    assert convert.main(arguments) == 0
    theirs, config = load_generator(tmp_path / 'out')
    assert 'last.ckpt' in config['weights']
    codes = random_codes(ours).indices_BL
    with torch.no_grad():
        assert torch.equal(theirs.features(codes[:, :-1], COND), ours.features(codes[:, :-1], COND))


def test_files_of_another_layout_are_refused():
    state = peer_state(build('MinGPT').state_dict())
    with pytest.raises(UserError, match='no file says how many heads 32 channels have'):
        build_from_peer('taming-gpt', state)
    with pytest.raises(UserError, match='first positions of this model see each other'):
        build_from_peer('taming-gpt', {**state, 'blocks.0.attn.mask': torch.ones(1, 1, 12, 12)}, heads=4)
    with pytest.raises(UserError, match='without its key or value'):
        build_from_peer('taming-gpt', {k: v for k, v in state.items() if k != 'blocks.0.attn.key.bias'}, heads=4)
    with pytest.raises(UserError, match='unknown key surprise'):
        build_from_peer('taming-gpt', {**state, 'surprise': torch.zeros(1)}, heads=4, grid=(3, 4))
    with pytest.raises(UserError, match='12 positions do not hold 256'):
        build_from_peer('taming-gpt', state, heads=4)
    larger = {**state, 'pos_emb': torch.cat([state['pos_emb']] * 2, dim=1)}
    generator = build_from_peer('taming-gpt', larger, heads=4, grid=(3, 4), num_classes=5)
    assert generator.position_embedding.shape == (24, 32)
    assert isinstance(generator.sample(COND), Codes)
