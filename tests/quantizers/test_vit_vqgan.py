"""ViT-VQGAN's encoder and decoder, and the importer of its files."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.autoencoders import ViTVQGANDecoder, ViTVQGANEncoder
from fvq_core.errors import UserError
from fvq_core.ops.sincos_positions import grid_positions
from fvq_core.registry import TOKENIZERS
from fvq_core.tokenizer import Tokenizer

from ..tiny import build_from_peer, random_images

SMALL, LARGE = dict(width=512, depth=8, heads=8), dict(width=1280, depth=32, heads=16)
# Millions of parameters, to which the port's count adds its 1,024 fixed positions and the codebook.
PUBLISHED: list[tuple[int, dict[str, Any], dict[str, Any]]] = [(52, SMALL, SMALL), (172, {}, {}), (615, SMALL, LARGE)]
UNIT = dict(type='L2Normalize', straight_to_latent=True)


def tokenizer(encoder: dict[str, Any] | None = None, decoder: dict[str, Any] | None = None) -> Tokenizer:
    """Every parameter random."""
    config = dict(
        type='Tokenizer',
        encoder=dict(type='ViTVQGANEncoder', **{**SIZES, **(encoder or {})}),
        quantizer=dict(type='VectorQuantizer', codebook_size=16, code_dim=6, normalize=UNIT),
        decoder=dict(type='ViTVQGANDecoder', **{**SIZES, 'width': 12, 'depth': 1, **(decoder or {})}),
    )
    built: Tokenizer = TOKENIZERS.build(config)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return built.eval()


SIZES: dict[str, Any] = dict(patch_size=4, width=8, depth=2, heads=3, mlp_width=11, head_width=64)


def peer_state(ours: Tokenizer, height: int = 2, width: int = 3) -> dict[str, Tensor]:
    """The same in the keys of the peer, for images of this many patches."""
    found = {}
    for key, value in ours.state_dict().items():
        theirs = key.replace('quantizer.embedding', 'quantizer.embedding.weight')
        theirs = theirs.replace('encoder.patches.', 'encoder.to_patch_embedding.0.')
        theirs = theirs.replace('decoder.pixels.', 'decoder.to_pixel.1.')
        theirs = re.sub(r'transformer\.blocks\.(\d+)\.(norm1|attn)', r'transformer.layers.\1.0.\2', theirs)
        theirs = re.sub(r'transformer\.blocks\.(\d+)\.(norm2|mlp)', r'transformer.layers.\1.1.\2', theirs)
        theirs = re.sub(r'(layers\.\d+\.\d)\.norm\d', r'\1.norm', theirs)
        theirs = theirs.replace('attn.qkv', 'fn.to_qkv').replace('attn.proj', 'fn.to_out')
        theirs = theirs.replace('mlp.fc1', 'fn.net.0').replace('mlp.fc2', 'fn.net.2')
        found[theirs] = value.flatten(1) if key in ('pre_quant.weight', 'post_quant.weight') else value
    for half, name in ((ours.encoder, 'encoder.en'), (ours.decoder, 'decoder.de')):
        found[f'{name}_pos_embedding'] = grid_positions(height, width, len(half.transformer.norm.weight))[None]
    return found


@pytest.mark.parametrize(('millions', 'encoder', 'decoder'), PUBLISHED)
def test_published_sizes(millions: int, encoder: dict[str, Any], decoder: dict[str, Any]):
    with torch.device('meta'):
        halves = ViTVQGANEncoder(**encoder), ViTVQGANDecoder(**decoder)
    positions = 1024 * (halves[0].out_channels + halves[1].in_channels)
    total = positions + 8192 * 32 + sum(p.numel() for half in halves for p in half.parameters())
    assert round(total / 1e6) == millions


@torch.no_grad()
def test_the_encoder_is_its_formula():
    """Patches of pixels in [0, 1], positions, tanh between the maps, and a final norm."""
    encoder, images = tokenizer().encoder, random_images(height=8, width=12)
    patches = ((images + 1) / 2).unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    x = patches @ encoder.patches.weight.flatten(1).T + encoder.patches.bias + grid_positions(2, 3, 8)
    for block in encoder.transformer.blocks:
        x = x + block.attn(F.layer_norm(x, (8,), block.norm1.weight, block.norm1.bias))
        h = F.layer_norm(x, (8,), block.norm2.weight, block.norm2.bias)
        x = x + block.mlp.fc2(torch.tanh(block.mlp.fc1(h)))
    expected = F.layer_norm(x, (8,), encoder.transformer.norm.weight, encoder.transformer.norm.bias)
    torch.testing.assert_close(encoder(images).flatten(2).transpose(1, 2), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_decoder_gives_pixels_from_zero_to_one():
    decoder = tokenizer().decoder
    decoder.pixels.weight.zero_()
    decoder.pixels.bias.fill_(1.0)  # white
    images = decoder(torch.randn(1, 12, 2, 3))
    assert images.shape == (1, 3, 8, 12)
    assert images.unique().tolist() == [1.0]


def test_checkpointing_changes_no_gradient():
    ours, images = tokenizer(), random_images(height=8, width=12)
    found = []
    for checkpointing in (False, True):
        ours.encoder.transformer.checkpointing = ours.decoder.transformer.checkpointing = checkpointing
        ours.zero_grad()
        ours.decode_latent(ours.encode_latent(images)).square().sum().backward()
        found.append({name: p.grad for name, p in ours.named_parameters() if p.grad is not None})
    assert len(found[0]) > 30
    torch.testing.assert_close(*found)


def test_biases_of_linear_maps_start_at_zero_and_patches_as_linear_maps():
    encoder = ViTVQGANEncoder(patch_size=8, width=64, depth=1, heads=1)
    assert not encoder.transformer.blocks[0].mlp.fc1.bias.any()
    bound = (6 / (64 + 3 * 8 * 8)) ** 0.5
    assert 0.95 * bound < encoder.patches.weight.abs().max() <= bound


@pytest.mark.parametrize(
    ('encoder', 'decoder', 'options'),
    [
        ({}, {}, {}),
        (dict(heads=2, head_width=16), dict(heads=1, head_width=16), dict(head_width=16)),
        (dict(depth=3), dict(width=16, mlp_width=8), {}),
    ],
)
@torch.no_grad()
def test_files_are_imported(encoder: dict[str, Any], decoder: dict[str, Any], options: dict[str, Any]):
    ours, images = tokenizer(encoder, decoder), random_images(height=8, width=12)
    lightning = {'state_dict': peer_state(ours) | {'loss.discriminator.blocks.0.0.weight': torch.zeros(1)}}
    found = build_from_peer('vit-vqgan', lightning, **options)
    assert torch.equal(found.encode(images).indices_BL, ours.encode(images).indices_BL)
    assert torch.equal(found(images).reconstruction, ours(images).reconstruction)


@torch.no_grad()
def test_a_single_head_as_wide_as_the_tokens_has_no_map_behind_it():
    sizes = dict(width=8, heads=1, head_width=8)
    ours, images = tokenizer(sizes, sizes), random_images(height=8, width=12)
    for half in (ours.encoder, ours.decoder):
        for block in half.transformer.blocks:
            torch.nn.init.eye_(block.attn.proj.weight)
            torch.nn.init.zeros_(block.attn.proj.bias)
    state = {key: value for key, value in peer_state(ours).items() if 'to_out' not in key}
    found = build_from_peer('vit-vqgan', state, head_width=8)
    assert torch.equal(found(images).reconstruction, ours(images).reconstruction)


@torch.no_grad()
def test_the_residual_option_and_unnormalized_codes_are_asked_for():
    ours, images = tokenizer(), random_images(height=8, width=12)
    found = build_from_peer('vit-vqgan', peer_state(ours), depth=3)
    codes = found.encode(images)
    assert codes.layout.vocabularies == (16, 16, 16)
    unit = F.normalize(ours.quantizer.embedding, dim=-1)[codes.unflatten()].sum(-2)  # (B, H, W, D)
    torch.testing.assert_close(found.quantizer.embed(codes), unit.movedim(-1, 1))
    plain = build_from_peer('vit-vqgan', peer_state(ours), l2_norm=False)
    assert torch.equal(plain.quantizer.codebook(), ours.quantizer.embedding)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda s: s.pop('pre_quant.weight'), r'^ViT-VQGAN: not its tokenizer: no encoder\.to_patch_embedding'),
        (lambda s: s.update({'encoder.cls_token': torch.zeros(1)}), r'^ViT-VQGAN: unknown key encoder\.cls_token'),
        (lambda s: s['encoder.en_pos_embedding'].mul_(2), 'positions of its encoder are not the fixed sine-cosine'),
        (
            lambda s: s.update({'decoder.to_pixel.1.weight': torch.zeros(12, 3, 4, 2)}),
            r'its patches are 4x2 pixels; only square ones are imported\.',
        ),
        (
            lambda s: s.update({'decoder.transformer.layers.0.0.fn.to_qkv.weight': torch.zeros(60, 12)}),
            r'20 channels of attention in the decoder are not heads of 64; pass their width\.',
        ),
    ],
)
def test_other_files_are_refused(change: Any, message: str):
    state = peer_state(tokenizer())
    change(state)
    with pytest.raises(UserError, match=message):
        build_from_peer('vit-vqgan', state)


def test_sides_that_the_patches_do_not_divide_are_refused():
    with pytest.raises(
        UserError, match=r'^ViTVQGANEncoder: image sides must be multiples of 4, got 8x10; crop or resize it\.$'
    ):
        tokenizer().encode(random_images(height=8, width=10))
    with pytest.raises(UserError, match=r'^ViT-VQGAN: width must be a multiple of 4 .*, got 6\.$'):
        ViTVQGANEncoder(width=6)
