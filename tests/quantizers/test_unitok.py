"""UniTok's encoder, decoder and attention projections, and the importer of its files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq.commands import convert
from fvq_core.autoencoders import ViTaminDecoder, ViTaminEncoder
from fvq_core.autoencoders.layers.attention_projection import AttentionProjection, GeGLU
from fvq_core.autoencoders.layers.mbconv_block import MBConvBlock, Resample
from fvq_core.errors import UserError
from fvq_core.registry import TOKENIZERS
from fvq_core.tokenizer import Tokenizer

from ..tiny import build_from_peer, random_images

SIZES: dict[str, Any] = dict(conv_widths=[4, 6], conv_depths=[1, 2], width=24, depth=2, heads=3, z_channels=8)
TEXT = {
    'text_encoder.ln_final.weight': torch.zeros(2),
    'fc_norm.weight': torch.zeros(24),
    'projection.bias': torch.zeros(5),
    'logit_scale': torch.zeros(()),
    'encoder.pos_embed': torch.zeros(1, 1, 24),
}
# The last of both halves' names for a part; the peer's first.
PROJECTION = dict(norm2='norm3', norm3='norm2', linear='proj', qkv='attn.qkv', attention_out='attn.proj')
PROJECTION |= {'q_bias': 'attn.q_bias', 'v_bias': 'attn.v_bias'}
MBCONV = dict(norm='pre_norm', expand='conv1_1x1', depthwise='conv2_kxk', reduce='conv3_1x1', upsample='up')
GATED = {'mlp.gate': 'mlp.w0', 'mlp.value': 'mlp.w1', 'mlp.out': 'mlp.w2'}
PLACES = {
    'encoder.conv_in': 'encoder.patch_embed.backbone.stem.conv1',
    'encoder.norm_in': 'encoder.patch_embed.backbone.stem.norm1',
    'encoder.conv_stem': 'encoder.patch_embed.backbone.stem.conv2',
    'encoder.norm_pool': 'encoder.patch_embed.backbone.pool.norm',
    'encoder.pool': 'encoder.patch_embed.backbone.pool.proj',
    'decoder.upsample': 'decoder.up_conv1',
    'decoder.upsample_out': 'decoder.up_conv4.conv1',
    'decoder.norm_out': 'decoder.up_conv4.norm1',
    'decoder.conv_out': 'decoder.up_conv4.conv2',
    'pre_quant': 'quant_proj',
    'post_quant': 'post_quant_proj',
}


def tokenizer(**changes: Any) -> Tokenizer:
    """Every parameter random; two groups of 4 channels."""
    sizes = {**SIZES, **changes}
    unit = dict(type='VectorQuantizer', codebook_size=16, code_dim=4, normalize=dict(type='L2Normalize'))
    config = dict(
        type='Tokenizer',
        encoder=dict(type='ViTaminEncoder', **sizes),
        quantizer=dict(type='ProductQuantizer', quantizer=unit, groups=2),
        decoder=dict(type='ViTaminDecoder', **sizes),
        quant_kernel=0 if sizes['z_channels'] else 1,
    )
    built: Tokenizer = TOKENIZERS.build(config)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return built.eval()


def peer_state(ours: Tokenizer, vqvae: bool = False) -> dict[str, Tensor]:
    """The same in the peer's keys."""
    depths, found = SIZES['conv_depths'], {}
    places = [(stage, block) for stage in range(2) for block in range(depths[stage])]
    mirrored = [(stage, block) for stage in (1, 0) for block in range(depths[stage])]
    for key, value in ours.state_dict().items():
        half, room, *rest = key.split('.')
        last = '.'.join(rest)
        if room == 'projection':
            name = 'quant_proj' if half == 'encoder' else 'post_quant_proj'
            for one, theirs in GATED.items():
                last = last.replace(one, theirs)
            part, dot, suffix = last.partition('.')
            theirs = f'{name}.{PROJECTION.get(part, part)}{dot}{suffix}'
        elif room == 'stages':
            stage, block = (places if half == 'encoder' else mirrored)[int(rest[0])]
            place = (
                f'encoder.patch_embed.backbone.stages.{stage}' if half == 'encoder' else f'decoder.up_conv{3 - stage}'
            )
            part = '.'.join(rest[1:])
            part = part.replace('shortcut.1.', 'shortcut.expand.').replace('shortcut.0.', 'shortcut.')
            first, _, suffix = part.partition('.')
            theirs = f'{place}.{block}.{MBCONV.get(first, first)}.{suffix}'
        elif room == 'blocks':
            theirs = key
            for one, other in GATED.items():
                theirs = theirs.replace(one, other)
        elif half == 'quantizer':
            theirs = f'{"quantize" if vqvae else "quantizer"}.codebooks.{rest[0]}.codebook.weight'
        else:
            start = next((name for name in PLACES if key.startswith(f'{name}.')), '')
            theirs = PLACES[start] + key.removeprefix(start) if start else key
        found[theirs] = value.flatten(1) if half in ('pre_quant', 'post_quant') and value.dim() == 4 else value
    if vqvae:
        found = {re.sub(r'^encoder\.norm\.', 'encoder.fc_norm.', key): value for key, value in found.items()}
    zero = dict.fromkeys(['quant_proj.attn.zero_k_bias', 'post_quant_proj.attn.zero_k_bias'], torch.zeros(24))
    usage = {key.replace('codebook.weight', 'vocab_usage'): torch.rand(16) for key in found if 'codebooks' in key}
    return found | usage | (zero if 'quant_proj.attn.qkv.weight' in found else {})


def test_published_sizes_beside_the_projections():
    with torch.device('meta'):
        halves = ViTaminEncoder(z_channels=None), ViTaminDecoder(z_channels=None)
    assert [round(sum(p.numel() for p in half.parameters()) / 1e6) for half in halves] == [332, 352]


@pytest.mark.parametrize(('in_width', 'out_width', 'heads'), [(12, 4, 3), (12, 4, 2), (4, 12, 3), (6, 6, 2)])
@torch.no_grad()
def test_the_projection_is_its_formula(in_width: int, out_width: int, heads: int):
    layer, x = AttentionProjection(in_width, out_width, heads), torch.randn(2, 5, in_width)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    wide = max(in_width, out_width)
    h = F.layer_norm(x, (in_width,), layer.norm1.weight, layer.norm1.bias)
    q, k, v = (F.linear(h, weight) for weight in layer.qkv.weight.chunk(3))
    split = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in (q + layer.q_bias, k, v + layer.v_bias))
    q, k, v = split
    h = (q @ k.mT / (wide // heads) ** 0.5).softmax(-1) @ v  # (B, heads, T, wide / heads)
    if in_width > out_width:
        h = h.mean(1)
        if wide // heads > out_width:  # 6 channels of a head to 4: bins 0-1, 1-2, 3-4, 4-5
            h = torch.stack([(h[..., a] + h[..., a + 1]) / 2 for a in (0, 1, 3, 4)], -1)
    else:
        h = h.transpose(1, 2).flatten(2)
    linear = layer.linear(F.layer_norm(x, (in_width,), layer.norm2.weight, layer.norm2.bias))
    y = linear + F.linear(h, layer.attention_out.weight, layer.attention_out.bias)
    expected = y + layer.mlp(F.layer_norm(y, (out_width,), layer.norm3.weight, layer.norm3.bias))
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_causal_token_sees_nothing_behind_it_and_others_see_all():
    full, x = AttentionProjection(12, 4, 3), torch.randn(1, 5, 12)
    causal = AttentionProjection(12, 4, 3, causal=True)
    causal.load_state_dict(full.state_dict())
    for layer, same in ((causal, [True] * 4 + [False]), (full, [False] * 5)):
        changed = x.clone()
        changed[:, 4] = torch.randn(12)
        assert [torch.equal(*pair) for pair in zip(layer(x)[0], layer(changed)[0], strict=True)] == same
    assert not torch.allclose(full(x), causal(x))


def test_the_projection_stays_in_float32_under_autocast():
    encoder, images = tokenizer().encoder, random_images(height=16, width=32)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert encoder(images).dtype == torch.float32
        assert encoder.conv_in(images).dtype == torch.bfloat16


@pytest.mark.parametrize(('resample', 'sides'), [(None, (6, 4)), ('down', (3, 2)), ('up', (12, 8))])
@torch.no_grad()
def test_the_bottleneck_is_its_formula(resample: Resample, sides: tuple[int, int]):
    block, x = MBConvBlock(3, 5, resample), torch.randn(2, 3, 6, 4)

    def double(h: Tensor) -> Tensor:
        return h.repeat_interleave(2, 2).repeat_interleave(2, 3)

    h = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    h, around = F.gelu(block.expand(h)), x
    if resample == 'up':
        h, around = block.upsample.conv(double(h)), block.shortcut[0].conv(double(x))
    elif resample == 'down':
        ones = F.avg_pool2d(torch.ones_like(x), 3, 2, 1)  # zeros beyond the border do not count
        around = block.shortcut[1](F.avg_pool2d(x, 3, 2, 1) / ones)
    else:
        around = block.shortcut(x)
    h = F.conv2d(h, block.depthwise.weight, block.depthwise.bias, 2 if resample == 'down' else 1, 1, groups=20)
    y = block(x)
    assert y.shape[2:] == sides
    torch.testing.assert_close(y, around + block.reduce(F.gelu(h)), rtol=1e-4, atol=1e-5)


def test_branches_are_left_out_more_often_in_later_blocks():
    encoder = ViTaminEncoder(**{**SIZES, 'depth': 5}, drop_path=0.1)
    assert [block.drop_path for block in encoder.blocks] == pytest.approx([0, 0.025, 0.05, 0.075, 0.1])
    assert isinstance(encoder.blocks[0].mlp, GeGLU)
    images = random_images(height=16, width=16)
    assert torch.equal(encoder.eval()(images), encoder(images))


def test_checkpointing_changes_no_gradient():
    ours, images = tokenizer(), random_images(height=16, width=32)
    found = []
    for checkpointing in (False, True):
        ours.encoder.checkpointing = ours.decoder.checkpointing = checkpointing
        ours.zero_grad()
        ours.decode_latent(ours.encode_latent(images)).square().mean().backward()
        found.append({name: p.grad for name, p in ours.named_parameters() if p.grad is not None})
    assert len(found[0]) > 100
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    ('changes', 'vqvae'),
    [({}, False), (dict(projection_heads=2), True), (dict(causal=True), False), (dict(z_channels=None), False)],
)
@torch.no_grad()
def test_files_are_imported(changes: dict[str, Any], vqvae: bool):
    ours, images = tokenizer(**changes), random_images(height=32, width=48)
    state = peer_state(ours, vqvae) | ({} if vqvae else TEXT)
    options = dict(heads=3, causal=changes.get('causal', False))
    found = build_from_peer('unitok', {'trainer': {'unitok': state}, 'args': {'vocab_size': 32}}, **options)
    assert torch.equal(found.encode(images).indices_BL, ours.encode(images).indices_BL)
    assert torch.equal(found(images).reconstruction, ours(images).reconstruction)
    assert found.encode(images).layout.vocabularies == (16, 16)


@torch.no_grad()
def test_the_command_says_what_it_leaves_out_and_takes_the_first_release(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    images = random_images(height=16, width=32)
    torch.save({'trainer': {'unitok': peer_state(tokenizer(heads=1)) | TEXT}}, tmp_path / 'unitok.pth')
    assert convert.main(['unitok', str(tmp_path / 'unitok.pth'), str(tmp_path / 'out'), '--causal']) == 0
    assert 'images only: without text tower, contrastive projection and logit scale' in capsys.readouterr().out
    found = Tokenizer.from_pretrained(tmp_path / 'out')
    assert found.encoder.projection.causal
    assert found.decoder.projection.causal
    assert torch.equal(found(images).reconstruction, tokenizer_like(found)(images).reconstruction)


def tokenizer_like(found: Tokenizer) -> Tokenizer:
    ours = tokenizer(heads=1, causal=True)
    ours.load_state_dict(found.state_dict())
    return ours


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda s: s.pop('decoder.up_conv4.conv2.weight'), r'^UniTok: not its tokenizer: no encoder\.patch_embed'),
        (
            lambda s: s.update({'encoder.reg_token': torch.zeros(1, 2, 24)}),
            r'^UniTok: a file with query tokens \(num_query\)',
        ),
        (lambda s: s.update({'encoder.cls_token': torch.zeros(1)}), r'^UniTok: unknown key encoder\.cls_token'),
        (
            lambda s: s.update({'decoder.up_conv2.2.pre_norm.bias': torch.zeros(1)}),
            r'its encoder has \[1, 2\] blocks of convolutions, its decoder \[1, 3\]; not imported\.',
        ),
    ],
)
def test_other_files_are_refused(change: Any, message: str):
    state = peer_state(tokenizer())
    change(state)
    with pytest.raises(UserError, match=message):
        build_from_peer('unitok', state)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r'^ViTaminEncoder: image sides must be multiples of 16, got 16x24; crop or'):
        tokenizer().encode(random_images(height=16, width=24))
    with pytest.raises(UserError, match=r'^AttentionProjection: 24 channels are not a multiple of 5 heads'):
        ViTaminEncoder(**{**SIZES, 'projection_heads': 5})
    with pytest.raises(UserError, match=r'^ViTaminDecoder: conv_widths \[4, 6\] and conv_depths \[1\] give each stage'):
        ViTaminDecoder(**{**SIZES, 'conv_depths': [1]})
