"""BAR's released layout, written out from its names: the importer gives what a plain computation on those names gives."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq.commands import convert
from fvq_core.errors import UserError
from fvq_generators import BAR
from fvq_generators.pretrained import load_generator
from tests.tiny import build_from_peer

D, HEADS, DEPTH, BITS, WIDTH, CLASSES, GRID, PREFIX = 32, 4, 2, 5, 24, 5, (3, 4), 33
L, HIDDEN, HEAD_HIDDEN = 12, int(2 / 3 * 128), int(2 / 3 * 96)
ORDER = torch.tensor([7, 3, 11, 0, 1, 10, 2, 5, 4, 9, 8, 6])


def peer_state() -> dict[str, Tensor]:
    """Names and shapes of the release, with random values."""
    shapes: dict[str, tuple[int, ...]] = {
        'cls_token': (1, 1, D),
        'pos_embed': (1, L + 128, D),
        'target_aware_pos_embed': (1, L + 128, D),
        'timesteps_embeddings': (1, L + 100, D),
        'norm.weight': (D,),
        'lm_head.input_embed.weight': (3, math.ceil(WIDTH / BITS)),
        'lm_head.ln_pre.weight': (WIDTH,),
        'lm_head.t_embedder.W': (256,),
        'lm_head.adaln_before_head.norm_final.weight': (WIDTH,),
        'embeddings.weight': (3 + CLASSES + 1, D),
        'input_embeddings.weight': (3, math.ceil(D / BITS)),
    }
    linear = {
        'lm_head.input_proj': (math.ceil(WIDTH / BITS) * BITS, WIDTH),
        'lm_head.output_embed': (WIDTH, 2 * BITS),
        'lm_head.t_embedder.mlp.0': (512, WIDTH),
        'lm_head.t_embedder.mlp.2': (WIDTH, WIDTH),
        'lm_head.adaln_before_head.adaLN_modulation.1': (WIDTH, 2 * WIDTH),
        'latent_condition_proj': (D, WIDTH),
        'input_merge': (math.ceil(D / BITS) * BITS, D),
    }
    for number in range(DEPTH):
        name = f'blocks.{number}.'
        shapes |= {f'{name}{norm}.weight': (D,) for norm in ('norm1', 'norm2')}
        shapes |= {f'{name}attn.{norm}.weight': (D // HEADS,) for norm in ('q_norm', 'k_norm')}
        shapes |= {f'{name}attn.rope.freqs_{part}': (PREFIX + 16, D // HEADS) for part in ('cos', 'sin')}
        linear |= {f'{name}attn.qkv': (D, 3 * D), f'{name}attn.proj': (D, D), f'{name}adaLN_modulation.1': (D, 6 * D)}
        linear |= {f'{name}mlp.w12': (D, 2 * HIDDEN), f'{name}mlp.w3': (HIDDEN, D)}
        name = f'lm_head.transformer.{number}.'
        shapes[f'{name}in_ln.weight'] = (WIDTH,)
        linear |= {f'{name}mlp.w12': (WIDTH, 2 * HEAD_HIDDEN), f'{name}mlp.w3': (HEAD_HIDDEN, WIDTH)}
        linear[f'{name}adaLN_modulation.1'] = (WIDTH, 3 * WIDTH)
    for name, (inputs, outputs) in linear.items():
        shapes |= {f'{name}.weight': (outputs, inputs), f'{name}.bias': (outputs,)}
    rng = torch.Generator().manual_seed(0)
    return {name: 0.3 * torch.randn(shape, generator=rng) for name, shape in shapes.items()}


def norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def turned(x_BHD: Tensor, place: int) -> Tensor:
    """One token's heads by the angles of a place: those of the prefix are not turned, the others by row, then column."""
    if place < PREFIX:
        return x_BHD
    size = D // HEADS
    frequencies = 10000.0 ** (-torch.arange(0, size // 2, 2) / (size // 2))
    row, column = divmod(place - PREFIX, GRID[1])
    angles = torch.cat([row * frequencies, column * frequencies])
    turn = torch.polar(torch.ones_like(angles), angles)
    return torch.view_as_real(torch.view_as_complex(x_BHD.unflatten(-1, (-1, 2)).contiguous()) * turn).flatten(-2)


def plainly(w: dict[str, Tensor], codes_BL: Tensor, labels_B: Tensor, order: Tensor) -> Tensor:
    """What the head of the release is told of each code, (B, L, W), in an order: token by token, without a cache."""

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f'{name}.weight'], w[f'{name}.bias'])

    def place_of(number: int) -> int:
        return PREFIX + int(order[number])

    cond_BD = w['embeddings.weight'][labels_B + 3]
    tokens, own, ahead = [], [], []
    for place in range(PREFIX + L - 1):
        code = place - PREFIX
        if place == 0:
            x_BD = w['cls_token'][0].expand(len(labels_B), -1)
        elif place < PREFIX:
            x_BD = cond_BD
        else:
            bits_BS = codes_BL[:, order[code], None] >> torch.arange(BITS) & 1
            x_BD = linear(w['input_embeddings.weight'][bits_BS].flatten(1), 'input_merge')
        own.append(place if code < 0 else place_of(code))
        ahead.append(place_of(max(0, code + 1)))
        tokens.append(x_BD + w['pos_embed'][0, own[-1]] + w['target_aware_pos_embed'][0, ahead[-1]])
    x_BTD, T = torch.stack(tokens, 1), len(tokens)
    cond_BTD = F.silu(cond_BD[:, None] + w['timesteps_embeddings'][0, :T])
    for number in range(DEPTH):
        name = f'blocks.{number}.'
        parts = linear(cond_BTD, f'{name}adaLN_modulation.1').chunk(6, -1)
        inner = norm(x_BTD, w[f'{name}norm1.weight']) * (1 + parts[1]) + parts[0]
        q, k, v = linear(inner, f'{name}attn.qkv').unflatten(-1, (3, HEADS, -1)).unbind(2)
        q, k = norm(q, w[f'{name}attn.q_norm.weight']), norm(k, w[f'{name}attn.k_norm.weight'])
        half = HEADS // 2
        q = torch.stack(
            [torch.cat([turned(q[:, t, :half], own[t]), turned(q[:, t, half:], ahead[t])], 1) for t in range(T)], 1
        )
        k = torch.stack([turned(k[:, t], own[t]) for t in range(T)], 1)
        scores = torch.einsum('bqhd,bkhd->bhqk', q, k) / (D // HEADS) ** 0.5
        scores = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
        attended = torch.einsum('bhqk,bkhd->bqhd', scores.softmax(-1), v).flatten(2)
        x_BTD = x_BTD + parts[2] * linear(attended, f'{name}attn.proj')
        inner = norm(x_BTD, w[f'{name}norm2.weight']) * (1 + parts[4]) + parts[3]
        left, right = linear(inner, f'{name}mlp.w12').chunk(2, -1)
        x_BTD = x_BTD + parts[5] * linear(F.silu(left) * right, f'{name}mlp.w3')
    return linear(norm(x_BTD[:, PREFIX - 1 :], w['norm.weight']), 'latent_condition_proj')


def head_plainly(w: dict[str, Tensor], bits_NS: Tensor, cond_NW: Tensor, share: float) -> Tensor:
    """Logits of the release's head."""

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f'lm_head.{name}.weight'], w[f'lm_head.{name}.bias'])

    angles = 2 * math.pi * share * w['lm_head.t_embedder.W']
    time = linear(F.silu(linear(torch.cat([angles.sin(), angles.cos()]), 't_embedder.mlp.0')), 't_embedder.mlp.2')
    cond = F.silu(F.silu(time + cond_NW))
    x = linear(w['lm_head.input_embed.weight'][bits_NS].flatten(1), 'input_proj')
    x = norm(x, w['lm_head.ln_pre.weight'])
    for number in range(DEPTH):
        name = f'transformer.{number}.'
        shift, scale, gate = linear(cond, f'{name}adaLN_modulation.1').chunk(3, -1)
        inner = norm(x, w[f'lm_head.{name}in_ln.weight']) * (1 + scale) + shift
        left, right = linear(inner, f'{name}mlp.w12').chunk(2, -1)
        x = x + gate * linear(F.silu(left) * right, f'{name}mlp.w3')
    scale, shift = linear(cond, 'adaln_before_head.adaLN_modulation.1').chunk(2, -1)
    x = norm(x, w['lm_head.adaln_before_head.norm_final.weight']) * (1 + scale) + shift
    return linear(x, 'output_embed').view(len(x), BITS, 2)


@torch.no_grad()
def test_an_imported_file_computes_what_the_release_does(tmp_path: Path):
    state = peer_state()
    torch.save(state, tmp_path / 'bar_b.bin')
    arguments = ['bar', str(tmp_path / 'bar_b.bin'), str(tmp_path / 'out'), '--heads', '4', '--grid', '3', '4']
    assert convert.main(arguments) == 0
    ours, _ = load_generator(tmp_path / 'out')
    assert isinstance(ours, BAR)
    codes_BL, labels_B = torch.randint(32, (3, L)), torch.tensor([0, 4, 5])  # 5 is no class
    for order in (torch.arange(L), ORDER):
        ordered_BL = codes_BL[:, order]
        found = ours.head(ours.features(ordered_BL[:, :-1], labels_B, order.expand(3, -1)))[:, PREFIX - 1 :]
        torch.testing.assert_close(found, plainly(state, codes_BL, labels_B, order), rtol=1e-4, atol=1e-4)
    bits_NS, cond_NW = torch.randint(3, (7, BITS)), torch.randn(7, WIDTH)
    wanted = head_plainly(state, bits_NS, cond_NW, 0.6)
    torch.testing.assert_close(ours.bit_head(bits_NS, cond_NW, torch.full((7,), 0.6)), wanted, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_refused():
    state = peer_state()
    with pytest.raises(UserError, match='no file says how many heads 32 channels have'):
        build_from_peer('bar', state, grid=GRID)
    with pytest.raises(UserError, match='this file has positions for 12 codes, not 3 x 3; give the grid'):
        build_from_peer('bar', state, heads=4)
    with pytest.raises(UserError, match='not a generator in the layout of BAR'):
        build_from_peer('bar', {'lm_head.output_embed.weight': torch.zeros(2, 2)})
    wide: Any = state | {'lm_head.output_embed.weight': torch.zeros(128, WIDTH)}
    with pytest.raises(UserError, match=r'codes of 64 bits are patches of several codes \(BAR-B/2, B/4\)'):
        build_from_peer('bar', wide)
    with pytest.raises(UserError, match=r'BAR: unknown key lm_head\.other'):
        build_from_peer('bar', state | {'lm_head.other': torch.zeros(1)}, heads=4, grid=GRID)
