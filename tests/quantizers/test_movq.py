"""MoVQ's decoder, and the importers of Kandinsky's and diffusers' files."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.autoencoders import MoVQDecoder, VQGANEncoder
from fvq_core.autoencoders.movq import SpatialNorm
from fvq_core.errors import UserError
from fvq_core.registry import DECODERS, TOKENIZERS
from fvq_core.tokenizer import Tokenizer

from ..tiny import build_from_peer, random_images
from .test_interop import taming_state

KANDINSKY = {67.8: {}, 101.6: dict(num_res_blocks=4), 270.7: dict(ch=256)}


def tokenizer(decoder: str = 'MoVQDecoder', attention: Any = True) -> Tokenizer:
    """Three levels, every parameter random; the latent is narrower than the features."""
    half = dict(ch=32, ch_mult=[1, 2, 2], num_res_blocks=1, z_channels=6, attention=attention)
    config = dict(
        type='Tokenizer',
        encoder=dict(type='VQGANEncoder', **half),
        quantizer=dict(type='VectorQuantizer', codebook_size=16, code_dim=4),
        decoder=dict(type=decoder, **half),
    )
    built: Tokenizer = TOKENIZERS.build(config)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return built.eval()


def kandinsky_state(ours: Tokenizer) -> dict[str, Tensor]:
    """The same in MoVQGAN's keys."""
    found = {'quantize.embedding.weight': ours.quantizer.embedding.detach()}
    for key, value in taming_state(ours).items():
        theirs = re.sub(r'^(decoder\..*norm\w*)\.norm\.', r'\1.norm_layer.', key)
        theirs = re.sub(r'^(decoder\..*norm\w*)\.scale\.', r'\1.conv_y.', theirs)
        theirs = re.sub(r'^(decoder\..*norm\w*)\.shift\.', r'\1.conv_b.', theirs)
        found[theirs] = value
    return found


@pytest.mark.parametrize('millions', KANDINSKY)
def test_published_sizes(millions: float):
    sizes = dict(ch_mult=(1, 2, 2, 4), z_channels=4) | KANDINSKY[millions]
    with torch.device('meta'):
        encoder, decoder = VQGANEncoder(**sizes), MoVQDecoder(**sizes)
    total = sum(p.numel() for half in (encoder, decoder) for p in half.parameters()) / 1e6
    assert total == pytest.approx(millions, abs=0.1)


def test_spatial_norm_is_its_formula():
    layer, x, z = SpatialNorm(8, 3, norm_groups=4), torch.randn(2, 8, 6, 4), torch.randn(2, 3, 3, 2)
    z_large = z.repeat_interleave(2, 2).repeat_interleave(2, 3)  # nearest neighbour
    expected = F.group_norm(x, 4, layer.norm.weight, layer.norm.bias, 1e-6) * layer.scale(z_large) + layer.shift(
        z_large
    )
    torch.testing.assert_close(layer(x, z), expected)


def test_the_latent_that_modulates_is_that_before_post_quant():
    ours = tokenizer()
    assert ours.decoder.latent_channels == ours.quantizer.code_dim  # filled in, as the config is silent
    codes = ours.encode(random_images(height=8, width=12))
    z_q = ours.quantizer.embed(codes)
    assert torch.equal(ours.decode(codes), ours.decoder(ours.post_quant(z_q), z_q))
    with pytest.raises(UserError, match='a quantized latent of 4 channels, got none'):
        ours.decoder(ours.post_quant(z_q))
    with pytest.raises(UserError, match='of 4 channels, got 6 channels'):
        ours.decoder(ours.post_quant(z_q), ours.post_quant(z_q))


@pytest.mark.parametrize('attention', [True, [0, 2], [], False])
def test_checkpointing_changes_no_gradient(attention: Any):
    half = dict(ch=8, ch_mult=(1, 2, 2), num_res_blocks=1, norm_groups=4, attention=attention, latent_channels=3)
    decoder, features, z = (
        DECODERS.build(dict(type='MoVQDecoder', **half)),
        torch.randn(1, 4, 3, 2),
        torch.randn(1, 3, 3, 2),
    )
    found = []
    for checkpointing in (False, True):
        decoder.checkpointing = checkpointing
        decoder.zero_grad()
        decoder(features, z).square().sum().backward()
        found.append({name: p.grad for name, p in decoder.named_parameters()})
    torch.testing.assert_close(*found)


@pytest.mark.parametrize('attention', [True, [0, 2], [], False])
@torch.no_grad()
def test_kandinskys_files_are_imported(attention: Any):
    ours, images = tokenizer(attention=attention), random_images(height=8, width=12)
    averages = {'ema_decoderconv_outweight': torch.zeros(1), 'loss.discriminator.main.0.weight': torch.zeros(1)}
    found = build_from_peer('movq', {'state_dict': kandinsky_state(ours) | averages})
    assert torch.equal(found.encode(images).indices_BL, ours.encode(images).indices_BL)
    assert torch.equal(found(images).reconstruction, ours(images).reconstruction)


@pytest.mark.parametrize('decoder', ['MoVQDecoder', 'VQGANDecoder'])
@torch.no_grad()
def test_diffusers_files_are_imported(decoder: str):
    from .test_interop_kl import diffusers_state

    ours, images = tokenizer(decoder), random_images(height=8, width=12)
    state = {key: value for key, value in diffusers_state(ours).items() if not key.startswith('quantizer.')}
    named = {'quantize.embedding.weight': ours.quantizer.embedding.detach()}
    for key, value in state.items():
        if key.startswith('decoder.'):
            key = re.sub(r'group_norm\.(norm|scale|shift)\.', r'spatial_norm.\1.', key)
            for name, theirs in (('norm', 'norm_layer'), ('scale', 'conv_y'), ('shift', 'conv_b')):
                key = re.sub(rf'(norm\w*)\.{name}\.', rf'\1.{theirs}.', key)
        named[key] = value
    found = build_from_peer('diffusers-vq', named)
    assert type(found.decoder).__name__ == decoder
    assert torch.equal(found(images).reconstruction, ours(images).reconstruction)


def test_other_files_are_refused():
    plain = kandinsky_state(tokenizer('VQGANDecoder'))
    with pytest.raises(UserError, match='norms of its decoder are not modulated'):
        build_from_peer('movq', plain)
    with pytest.raises(UserError, match='not its VQModel'):
        build_from_peer('diffusers-vq', plain)
    with pytest.raises(UserError, match=r'no quantize\.embedding\.weight'):
        build_from_peer('movq', {key: value for key, value in plain.items() if 'quantize.' not in key})
