"""Open-MAGVIT2's generator: codes in two parts, guidance of each, the released layout, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from fvq.commands import convert
from fvq_core.codes import Codes, Targets
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS, QUANTIZERS
from fvq_generators import OpenMAGVIT2Transformer
from fvq_generators.layers import join_code, split_code
from fvq_generators.pretrained import load_generator
from tests.tiny import build_from_peer

from .test_autoregressive import COND, MODELS, build, joint, random_codes

NAME = 'OpenMAGVIT2Transformer'


def peer_state(ours: OpenMAGVIT2Transformer) -> dict[str, Tensor]:
    """The weights under Open-MAGVIT2's keys."""
    found = {}
    for key, value in ours.state_dict().items():
        if key.startswith(('blocks.', 'inner_blocks.')):
            key = key.replace('inner_blocks.', 'factorized_blocks.').replace('ffn.out', 'feed_forward.w2')
            key = 'spatial_' + key if key.startswith('blocks.') else key
            key = key.replace('attention.qkv', 'attention.wqkv').replace('attention.out', 'attention.wo')
        key = {'head.weight': 'head.0.weight', 'second_head.weight': 'head.1.weight'}.get(key, key)
        key = key.replace('first_embedding', 'pre_emb').replace('second_embedding', 'post_emb')
        key = key.replace('condition.table', 'class_emb.embedding_table')
        if key.endswith('.ffn.gate_up.weight'):
            block = key.removesuffix('.ffn.gate_up.weight')
            found[f'{block}.feed_forward.w1.weight'], found[f'{block}.feed_forward.w3.weight'] = value.chunk(2)
        else:
            found[key] = value
    return found


def test_the_parts_of_a_code_are_the_first_channels_of_its_tokenizer_and_the_others():
    quantizer: Any = QUANTIZERS.build(dict(type='LFQ', codebook_size=2**9))
    generator = cast(
        Any,
        GENERATORS.build(
            {**MODELS[NAME], 'factors': (8, 64), 'layout': {**MODELS[NAME]['layout'], 'codebook_size': 512}}
        ),
    )
    signs_KD = quantizer.codebook() > 0
    first, second = generator.parts(torch.arange(512))
    assert torch.equal(first, (signs_KD[:, :3] * 2 ** torch.arange(3)).sum(1))
    assert torch.equal(second, (signs_KD[:, 3:] * 2 ** torch.arange(6)).sum(1))


def test_the_first_part_of_a_code_is_its_lowest_digit():
    codes = torch.arange(24).view(2, 12)
    parts = split_code(codes, (4, 3, 2))
    assert [int(part[1, 11]) for part in parts] == [3, 2, 1]
    assert [int(part[0, 6]) for part in parts] == [2, 1, 0]
    assert torch.equal(join_code(parts, (4, 3, 2)), codes)
    assert torch.equal(join_code(split_code(codes, (24,)), (24,)), codes)


@torch.no_grad()
def test_samples_are_distributed_as_the_model_says():
    layout = dict(type='Grid', height=1, width=1, codebook_size=32)
    generator = cast(OpenMAGVIT2Transformer, build(NAME, layout=layout, num_classes=1))
    codes = generator.sample(torch.zeros(6000, dtype=torch.int64), rng=torch.Generator().manual_seed(0)).indices_BL
    x_BLD = generator.features(torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    p = joint(generator, x_BLD)[0, 0].exp()
    assert p.sum().item() == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(codes[:, 0].bincount(minlength=32) / 6000, p, rtol=0, atol=0.02)


@torch.no_grad()
def test_the_loss_is_that_of_whole_codes():
    generator = cast(OpenMAGVIT2Transformer, build(NAME))
    codes = random_codes(generator)
    log_p = joint(generator, generator.features(codes.indices_BL[:, :-1], COND))
    expected = -log_p.gather(2, codes.indices_BL[..., None]).mean()
    torch.testing.assert_close(generator.loss(Targets(codes), COND)['cross_entropy'], expected)


@torch.no_grad()
def test_each_part_has_its_own_guidance():
    generator = cast(OpenMAGVIT2Transformer, build(NAME))
    for scales in ((3.0, 1.5), (1.0, 2.0), (2.0, 0.0)):
        drawn = generator.sample(COND, temperature=0, cfg_scale=scales[0], second_cfg_scale=scales[1]).indices_BL
        with_class, without = (
            [head(x_ND) for head, x_ND in zip(
                (generator.head, generator.second_head), generator.part_features(drawn, each), strict=True
            )]
            for each in (COND, torch.full_like(COND, 5))
        )  # fmt: skip
        for number, part_BL in enumerate(generator.parts(drawn)):
            scale = scales[number] or scales[0]
            guided = without[number] + (with_class[number] - without[number]) * scale
            assert torch.equal(part_BL.flatten(), guided.argmax(-1)), (scales, number)


def test_the_same_generator_comes_back_from_a_lightning_file(tmp_path: Path):
    ours = cast(OpenMAGVIT2Transformer, build(NAME))
    state = {f'transformer.{key}': value for key, value in peer_state(ours).items()}
    state['first_stage_model.encoder.conv_in.weight'] = torch.zeros(2, 2)
    torch.save({'state_dict': state, 'global_step': 7}, tmp_path / 'AR_256_B.ckpt')
    arguments = [
        *('open-magvit2-gpt', str(tmp_path / 'AR_256_B.ckpt'), str(tmp_path / 'out')),
        *('--heads', '4', '--grid', '3', '4'),
    ]
    assert convert.main(arguments) == 0
    theirs, _ = load_generator(tmp_path / 'out')
    assert isinstance(theirs, OpenMAGVIT2Transformer)
    options: dict[str, Any] = dict(seeds=[1, 2, 3], cfg_scale=2.0, second_temperature=1.2, top_k=5)
    assert theirs.sample(COND, **options) == ours.sample(COND, **options)


def test_what_does_not_fit_is_refused():
    for options, message in (
        (dict(factors=(8, 8)), r'factors are two numbers whose product is the vocabulary 32, got \(8, 8\)'),
        (dict(inner_depth=0), 'inner_depth'),
        (dict(cond_dropout=1.0), r'cond_dropout must lie in \[0, 1\)'),
        (dict(layout=dict(type='Grid', height=2, width=2, codebook_size=[8, 4])), 'with one code a position'),
    ):
        with pytest.raises(UserError, match=message):
            GENERATORS.build({**MODELS[NAME], **options})
    generator = build(NAME)
    with pytest.raises(UserError, match="no setting 'cfg_schedule'"):
        generator.sample(COND, cfg_schedule='linear')
    with pytest.raises(UserError, match='codes must lie in'):
        generator.loss(Targets(Codes(torch.full((3, 12), 40), generator.layout)), COND)
    with pytest.raises(UserError, match='not a generator in its layout'):
        build_from_peer('open-magvit2-gpt', {'pre_emb.weight': torch.zeros(2, 2)})
