"""Infinity from texts: cross-attention, padding, guidance, training, and the released layout."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq.commands import convert
from fvq_core.codes import Codes, Targets
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_generators import Infinity
from fvq_generators.binding import bind_checked
from fvq_generators.interop.infinity import import_infinity
from fvq_generators.layers import TextEmbedding
from fvq_generators.pretrained import load_generator
from tests.tiny import build_from_peer

from .test_infinity import BITS, LENGTHS, SCALES, infinity_config, random_codes, tiny_infinity, tokenizer
from .test_var import Recorder

D, HEADS, POOL_HEADS, DEPTH, C, T, L = 32, 4, 2, 3, 12, 6, sum(LENGTHS)
TEXT: dict[str, Any] = dict(caption_dim=C, caption_tokens=T, pool_heads=POOL_HEADS)
WORDS = (2, 6, 3)


def captions(batch: int = 3) -> tuple[Tensor, Tensor]:
    """Features, and a mask of padding on the left."""
    rng = torch.Generator().manual_seed(2)
    mask_BT = torch.stack([torch.arange(T) >= T - WORDS[number % 3] for number in range(batch)])
    return torch.randn(batch, T, C, generator=rng), mask_BT


def whole_logits(generator: Infinity, codes: Codes, features_BTC: Tensor, mask_BT: Tensor | None) -> Tensor:
    inputs_BLC = generator.quantizer.prefix_inputs(codes)
    return generator.logits(generator.features(inputs_BLC, features_BTC, mask_BT)).flatten(1, 2)


@torch.no_grad()
def test_logits_with_the_cache_equal_those_without():
    generator, recorder, (features_BTC, mask_BT) = tiny_infinity(**TEXT), Recorder(), captions()
    codes = generator.sample(features_BTC, caption_mask_BT=mask_BT, cfg_scale=3.0, pick=recorder)
    assert isinstance(codes, Codes)
    with_text = whole_logits(generator, codes, features_BTC, mask_BT)
    none_TC = cast(TextEmbedding, generator.condition).unconditional_TC
    none_BTC = torch.zeros_like(features_BTC)
    for number, words in enumerate(WORDS):
        none_BTC[number, T - words :] = none_TC[:words]  # as many words as the text has
    without = whole_logits(generator, codes, none_BTC, mask_BT)
    torch.testing.assert_close(recorder.logits(), without + 3.0 * (with_text - without), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_padding_is_not_seen_and_each_word_is():
    generator, (features_BTC, mask_BT) = tiny_infinity(**TEXT), captions()
    codes = random_codes(generator)
    before = whole_logits(generator, codes, features_BTC, mask_BT)
    padded = torch.where(mask_BT[..., None], features_BTC, features_BTC + 7.0)
    torch.testing.assert_close(whole_logits(generator, codes, padded, mask_BT), before)
    changed = features_BTC.clone()
    changed[:, -1] += 1.0
    assert (whole_logits(generator, codes, changed, mask_BT) - before).abs().amax((1, 2)).min() > 1e-3
    everything = whole_logits(generator, codes, features_BTC, torch.ones_like(mask_BT))
    torch.testing.assert_close(whole_logits(generator, codes, features_BTC, None), everything)


@torch.no_grad()
def test_a_sample_depends_on_its_seed_and_text_and_not_on_its_batch():
    generator, (features_BTC, mask_BT) = tiny_infinity(**TEXT), captions()
    settings: dict[str, Any] = dict(cfg_scale=2.5, temperature=0.8)
    drawn = generator.sample(features_BTC, seeds=[7, 8, 9], caption_mask_BT=mask_BT, **settings).indices_BL
    for number in range(3):
        some = slice(number, number + 1)
        alone = generator.sample(features_BTC[some], seeds=[7 + number], caption_mask_BT=mask_BT[some], **settings)
        assert torch.equal(alone.indices_BL[0], drawn[number])
    other = generator.sample(features_BTC.flip(0), seeds=[7, 8, 9], caption_mask_BT=mask_BT.flip(0), **settings)
    assert not torch.equal(other.indices_BL[0], drawn[0])


def test_training_drops_texts_and_images_without_one_do_not_count():
    generator, (features_BTC, mask_BT) = tiny_infinity(cond_dropout=0.5, flips=0.0, **TEXT), captions(400)
    embedding = cast(TextEmbedding, generator.condition)
    torch.manual_seed(0)
    dropped_BTC = embedding.drop(features_BTC, mask_BT)
    kept_B = (dropped_BTC == features_BTC).flatten(1).all(1)
    assert kept_B.float().mean().item() == pytest.approx(0.5, abs=0.08)
    words_BTC = embedding.null(features_BTC, mask_BT)
    assert torch.equal(dropped_BTC[~kept_B], words_BTC[~kept_B])
    generator = tiny_infinity(cond_dropout=0.0, flips=0.0, weigh_scales=True, **TEXT).train()
    codes, valid_B = random_codes(generator), torch.tensor([1.0, 0.0, 1.0])
    loss = generator.loss(Targets(codes), features_BTC[:3], mask_BT[:3], valid_B)['cross_entropy']
    seen = Codes(codes.indices_BL[::2], codes.layout)
    alone = generator.loss(Targets(seen), features_BTC[:3:2], mask_BT[:3:2])['cross_entropy']
    torch.testing.assert_close(loss, alone)


def test_checkpointing_changes_nothing():
    generator, (features_BTC, mask_BT) = tiny_infinity(cond_dropout=0.0, **TEXT).train(), captions()
    codes, gradients = random_codes(generator), []
    for generator.checkpointing in (False, True):
        torch.manual_seed(5)  # of flips
        loss = generator.loss(Targets(codes), features_BTC, mask_BT)['cross_entropy']
        gradients.append((loss, *torch.autograd.grad(loss, list(generator.parameters()), allow_unused=True)))
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other)


def test_a_set_that_it_can_memorize_is_learned_and_drawn():
    torch.manual_seed(0)
    changes = dict(cond_dropout=0.0, gate_init=0.1, modulation_init=0.5, head_init=1.0, flips=0.0)
    generator = cast(Infinity, GENERATORS.build(infinity_config(**changes, **TEXT)))
    bind_checked(generator, tokenizer())
    codes, (features_BTC, mask_BT) = random_codes(generator, 5), captions(5)
    optimizer = torch.optim.Adam(generator.parameters(), 0.01)
    for _ in range(80):
        loss = generator.loss(Targets(codes), features_BTC, mask_BT)['cross_entropy']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    drawn = generator.sample(features_BTC, caption_mask_BT=mask_BT, temperature=0.0)
    assert torch.equal(drawn.indices_BL, codes.indices_BL)


def peer_state(chunks: int | None = 3) -> dict[str, Tensor]:
    """Names and shapes of the release, with random values; blocks in chunks or not."""
    shapes: dict[str, tuple[int, ...]] = {
        'cfg_uncond': (T, C),
        'pos_start': (1, 1, D),
        'text_norm.weight': (C,),
        'text_proj_for_sos.ca.mat_q': (1, POOL_HEADS, D // POOL_HEADS),
        'text_proj_for_sos.ca.v_bias': (D,),
        'text_proj_for_sos.ca.mat_kv.weight': (2 * D, C),
        'lvl_embed.weight': (15, D),
    }
    linear = {
        'text_proj_for_sos.ca.proj': (D, D),
        'text_proj_for_ca.0': (C, D),
        'text_proj_for_ca.2': (D, D),
        'word_embed': (BITS, D),
        'shared_ada_lin.1': (D, 6 * D),
        'head_nm.ada_lin.1': (D, 2 * D),
        'head': (D, 2 * BITS),
    }
    zeros = {'text_proj_for_sos.ca.zero_k_bias': torch.zeros(D)}
    for number in range(DEPTH):
        each = DEPTH // (chunks or 1)
        name = f'block_chunks.{number // each}.module.{number % each}.' if chunks else f'blocks.{number}.'
        shapes |= {f'{name}ada_gss': (1, 1, 6, D), f'{name}sa.scale_mul_1H11': (1, HEADS, 1, 1)}
        shapes |= {f'{name}{part}': (D,) for part in ('sa.q_bias', 'sa.v_bias', 'ca.v_bias')}
        shapes |= {f'{name}ca_norm.{part}': (D,) for part in ('weight', 'bias')}
        shapes |= {f'{name}sa.mat_qkv.weight': (3 * D, D), f'{name}ca.mat_kv.weight': (2 * D, D)}
        linear |= {f'{name}sa.proj': (D, D), f'{name}ca.proj': (D, D), f'{name}ca.mat_q': (D, D)}
        linear |= {f'{name}ffn.fc1': (D, 4 * D), f'{name}ffn.fc2': (4 * D, D)}
        zeros |= {f'{name}{part}.zero_k_bias': torch.zeros(D) for part in ('sa', 'ca')}
    for name, (inputs, outputs) in linear.items():
        shapes |= {f'{name}.weight': (outputs, inputs), f'{name}.bias': (outputs,)}
    rng = torch.Generator().manual_seed(0)
    return {name: 0.3 * torch.randn(shape, generator=rng) for name, shape in shapes.items()} | zeros


def plainly(w: dict[str, Tensor], inputs_BLC: Tensor, words: list[Tensor]) -> Tensor:
    """Logits of the release, (B, L, 2 bits), from the names of its weights: image by image, each with its own words only."""

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f'{name}.weight'], w.get(f'{name}.bias'))

    def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float, seen: Tensor | None = None) -> Tensor:
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in (q, k, v))
        scores = q @ k.mT * scale
        scores = scores if seen is None else scores.masked_fill(~seen, -torch.inf)
        return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)

    def read(x: Tensor | None, source: Tensor, name: str, heads: int) -> Tensor:
        q = w[f'{name}.mat_q'].reshape(1, D) if x is None else linear(x, f'{name}.mat_q')
        k, v = linear(source, f'{name}.mat_kv').chunk(2, -1)
        return linear(attend(q, k, v + w[f'{name}.v_bias'], heads, (D // heads) ** -0.5), f'{name}.proj')

    level = torch.arange(3).repeat_interleave(torch.tensor(LENGTHS))
    places = torch.cat([torch.cartesian_prod(torch.arange(side), torch.arange(side)) * (64 // side) for side in SCALES])
    frequencies = 10000.0 ** (-torch.arange(0, D // HEADS // 2, 2) / (D // HEADS // 2))
    angles = torch.cat([places[:, :1] * frequencies, places[:, 1:] * frequencies], 1)[:, None]
    turn = torch.polar(torch.ones_like(angles), angles)

    def turned(x_LH: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x_LH.unflatten(-1, (HEADS, -1, 2)).contiguous())
        return torch.view_as_real(pairs * turn).flatten(1)

    out = []
    for inputs_LC, features in zip(inputs_BLC, words, strict=True):
        features = features / (features.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w['text_norm.weight']
        cond = read(None, features, 'text_proj_for_sos.ca', POOL_HEADS)
        source = linear(F.gelu(linear(features, 'text_proj_for_ca.0'), approximate='tanh'), 'text_proj_for_ca.2')
        x = torch.cat([cond + w['pos_start'][0], linear(inputs_LC, 'word_embed')]) + w['lvl_embed.weight'][level]
        shared = linear(F.silu(cond), 'shared_ada_lin.1').view(6, D)
        for number in range(DEPTH):
            name = f'block_chunks.{number}.module.0.'
            gate1, gate2, scale1, scale2, shift1, shift2 = (w[f'{name}ada_gss'][0, 0] + shared).unbind()
            inner = F.layer_norm(x, (D,), eps=1e-6) * (1 + scale1) + shift1
            bias = torch.cat([w[f'{name}sa.q_bias'], torch.zeros(D), w[f'{name}sa.v_bias']])
            q, k, v = (linear(inner, f'{name}sa.mat_qkv') + bias).chunk(3, -1)
            q, k = (F.normalize(part.unflatten(-1, (HEADS, -1)), dim=-1) for part in (q, k))
            q = q * w[f'{name}sa.scale_mul_1H11'].view(HEADS, 1).clamp(max=math.log(100)).exp()
            seen = level[:, None] >= level
            attended = attend(turned(q.flatten(1)), turned(k.flatten(1)), v, HEADS, 1.0, seen)
            x = x + gate1 * linear(attended, f'{name}sa.proj')
            normed = F.layer_norm(x, (D,), w[f'{name}ca_norm.weight'], w[f'{name}ca_norm.bias'], 1e-6)
            x = x + read(normed, source, f'{name}ca', HEADS)
            inner = F.layer_norm(x, (D,), eps=1e-6) * (1 + scale2) + shift2
            inner = F.gelu(linear(inner, f'{name}ffn.fc1'), approximate='tanh')
            x = x + gate2 * linear(inner, f'{name}ffn.fc2')
        scale, shift = linear(F.silu(cond), 'head_nm.ada_lin.1').view(2, D).unbind()
        out.append(linear(F.layer_norm(x, (D,), eps=1e-6) * (1 + scale) + shift, 'head'))
    return torch.stack(out)


@torch.no_grad()
def test_an_imported_file_computes_what_the_release_does(tmp_path: Path):
    state = peer_state()
    torch.save(state, tmp_path / 'infinity.pth')
    arguments = ['infinity', str(tmp_path / 'infinity.pth'), str(tmp_path / 'out'), '--scales', '1', '2', '4']
    assert convert.main(arguments) == 0
    ours, _ = load_generator(tmp_path / 'out')
    assert isinstance(ours, Infinity)
    assert (ours.caption_shape, ours.num_classes) == ((T, C), None)
    bind_checked(ours, tokenizer())
    (features_BTC, mask_BT), codes = captions(), random_codes(ours)
    found = whole_logits(ours, codes, features_BTC, mask_BT)
    words = [features_TC[mask_T] for features_TC, mask_T in zip(features_BTC, mask_BT, strict=True)]
    wanted = plainly(state, ours.quantizer.prefix_inputs(codes), words)
    torch.testing.assert_close(found, wanted.view(3, L * BITS, 2), rtol=1e-4, atol=1e-4)


def test_blocks_in_chunks_or_not_are_the_same_model_and_what_does_not_fit_is_refused():
    states = [import_infinity(peer_state(chunks), SCALES)[1] for chunks in (3, 1, None)]
    assert all(state.keys() == states[0].keys() for state in states)
    assert all(torch.equal(state[key], states[0][key]) for state in states for key in state if 'blocks' not in key)
    chunked = peer_state(1)
    plain = {key.replace('block_chunks.0.module.', 'blocks.'): value for key, value in chunked.items()}
    one, other = (import_infinity(state, SCALES)[1] for state in (chunked, plain))
    assert all(torch.equal(one[key], other[key]) for key in one)
    with pytest.raises(UserError, match='not a text-to-image model in the layout of Infinity: no cfg_uncond'):
        build_from_peer('infinity', {'head.weight': torch.zeros(2, 2)})
    with pytest.raises(UserError, match='the file has 15 levels, got 16 scales'):
        import_infinity(peer_state(), range(1, 17))
    with pytest.raises(UserError, match=r'zero_k_bias is not zero; released files have zeros there'):
        import_infinity(peer_state() | {'text_proj_for_sos.ca.zero_k_bias': torch.ones(D)})


def test_conditions_of_the_other_kind_are_refused():
    (features_BTC, mask_BT), generator = captions(), tiny_infinity(**TEXT)
    with pytest.raises(UserError, match=r'captions are float features \(B, 6, 12\), got torch.int64'):
        generator.sample(torch.tensor([0, 3]))
    with pytest.raises(UserError, match=r'expected a caption mask of \(3, 6\), a line for each caption, got \(3, 5\)'):
        generator.sample(features_BTC, caption_mask_BT=mask_BT[:, 1:])
    with pytest.raises(UserError, match='a caption mask goes with captions, and this model has classes; leave it out'):
        tiny_infinity().sample(torch.tensor([0, 3, 1]), caption_mask_BT=mask_BT)
