"""The importer of TiTok's files: every kind of them, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq.commands import convert
from fvq_core.autoencoder import Autoencoder
from fvq_core.errors import UserError
from fvq_core.registry import TOKENIZERS

from ..tiny import PROXY_HEAD, build_from_peer, maskgit_config, random_images, titok_config, titok_kl_config
from .test_maskgit_vq import port_state

# Ours to theirs, in order.
NAMES = (
    (r'^encoder\.latent_tokens', 'latent_tokens'),
    (r'transformer\.class_token', 'class_embedding'),
    (r'transformer\.positions', 'positional_embedding'),
    (r'transformer\.token_positions', 'latent_token_positional_embedding'),
    (r'transformer\.text_positions', 'text_guidance_positional_embedding'),
    (r'transformer\.norm_in', 'ln_pre'),
    (r'norm_out', 'ln_post'),
    (r'transformer\.blocks', 'transformer'),
    (r'\.norm([12])\.', r'.ln_\1.'),
    (r'attn\.qkv\.', 'attn.in_proj_'),
    (r'attn\.proj', 'attn.out_proj'),
    (r'mlp\.fc1', 'mlp.c_fc'),
    (r'mlp\.fc2', 'mlp.c_proj'),
    (r'proj_out', 'conv_out'),
    (r'decoder\.embed\.', 'decoder.decoder_embed.'),
    (r'text_embed', 'text_guidance_proj'),
    (r'head\.to_logits', 'ffn'),
    (r'head\.to_pixels', 'ffn.0'),
    (r'head\.conv_out', 'conv_out'),
    (r'^quantizer\.embedding', 'quantize.embedding.weight'),
)
OPTIONS = dict(heads=2, norm_groups=4)
KINDS: dict[str, Any] = {
    'stage 2': lambda: squared(titok_config(PROXY_HEAD), legacy=True, normalize=dict(type='L2Normalize')),
    'single stage': lambda: squared(titok_config()),
    'normalized': lambda: squared(titok_config(), normalize=dict(type='L2Normalize')),
    'text': lambda: squared(titok_config(text_length=3, text_width=5)),
    'latents': lambda: squared(titok_kl_config()),
    'latents and text': lambda: squared(titok_kl_config(text_length=3, text_width=5)),
    'other patches': lambda: squared(titok_config(encoder_patch_size=8), patch_size=8),
}


def squared(config: dict[str, Any], normalize: Any = None, **encoder: Any) -> Any:
    """A whole model for square images, every parameter random."""
    for half in ('encoder', 'decoder'):
        config[half]['image_size'] = 16
    config['encoder'].update(encoder)
    if normalize:
        config['quantizer']['normalize'] = normalize
    torch.manual_seed(0)
    built = TOKENIZERS.build(config).eval()
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    if built.quantizer is not None:  # codes near latents, so that several are used
        with torch.no_grad():
            latents_BDL = built.encode_latent(random_images(3, 16, 16))
            built.quantizer.embedding.copy_(latents_BDL.movedim(1, 2).flatten(0, 1)[:16])
    return built


def peer_state(ours: Any) -> dict[str, Tensor]:
    found = {}
    for key, value in ours.state_dict().items():
        if key.startswith('decoder.head.decoder') or key == 'decoder.head.codebook':
            continue
        for pattern, theirs in NAMES:
            key = re.sub(pattern, theirs, key)
        if key.endswith('class_embedding'):
            value = value[None]
        elif key == 'decoder.mask_token':
            value = value[None, None]
        elif key == 'encoder.conv_out.weight':
            value = value[..., None, None]
        found[key] = value
    if hasattr(ours.decoder.head, 'codebook'):
        proxy = TOKENIZERS.build(maskgit_config())
        proxy.decoder.load_state_dict(ours.decoder.head.decoder.state_dict())
        found['pixel_quantize.embedding.weight'] = ours.decoder.head.codebook.detach()
        port = port_state(proxy)
        found |= {f'pixel_{key}': value for key, value in port.items() if key.startswith('decoder.')}
    return found


@pytest.mark.parametrize('kind', KINDS)
@torch.no_grad()
def test_every_kind_of_file_is_imported(kind: str):
    ours, images = KINDS[kind](), random_images(2, 16, 16)
    norm = dict(l2_norm=True) if kind == 'normalized' else {}
    found = build_from_peer('titok', peer_state(ours), **OPTIONS, **norm)
    assert not found.training
    assert torch.equal(found.encode_latent(images), ours.encode_latent(images))
    encoded = ours.encode(images)
    if ours.quantizer is not None:
        assert torch.equal(found.encode(images).indices_BL, encoded.indices_BL)
        assert len(encoded.indices_BL.unique()) > 3
    assert torch.equal(found.decode(encoded), ours.decode(encoded))
    if 'text' in kind:
        text = torch.randn(2, 3, 5)
        with ours.decoder.guided_by(text), found.decoder.guided_by(text):
            assert torch.equal(found.decode(encoded), ours.decode(encoded))


@torch.no_grad()
def test_a_file_of_stage_1_becomes_whole_with_its_proxy(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    ours = KINDS['stage 2']()
    state = {key: value for key, value in peer_state(ours).items() if not key.startswith('pixel_')}
    torch.save(state, tmp_path / 'stage1.bin')
    proxy = TOKENIZERS.build(maskgit_config())
    proxy.save_pretrained(tmp_path / 'proxy')
    arguments = ['titok', str(tmp_path / 'stage1.bin'), str(tmp_path / 'out'), '--heads', '2']
    assert convert.main(arguments) != 0
    assert 'a file of stage 1, which predicts 16 codes of another tokenizer' in capsys.readouterr().err
    assert convert.main([*arguments, '--proxy', str(tmp_path / 'proxy')]) == 0
    assert 'Tokenizer with 16 codes of 4 channels' in capsys.readouterr().out
    found, images = Autoencoder.from_pretrained(tmp_path / 'out'), random_images(2, 16, 16)
    head = ours.decoder.head
    head.codebook.copy_(proxy.quantizer.codebook())
    head.decoder.load_state_dict(proxy.decoder.state_dict())
    assert torch.equal(found(images).reconstruction, ours(images).reconstruction)
    TOKENIZERS.build(maskgit_config(codebook_size=32)).save_pretrained(tmp_path / 'other')
    assert convert.main([*arguments, '--proxy', str(tmp_path / 'other')]) != 0
    assert 'predicts 16 codes, the tokenizer of its pixels has 32' in capsys.readouterr().err


@torch.no_grad()
def test_what_a_files_text_is_like_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    torch.save(peer_state(KINDS['latents and text']()), tmp_path / 'vae.bin')
    assert convert.main(['titok', str(tmp_path / 'vae.bin'), str(tmp_path / 'out'), '--heads', '2']) == 0
    assert 'latents of 4 channels, scale 1.0 and shift 0.0, and text features (B, 3, 5)' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda state: state.pop('latent_tokens'), 'not TiTok: no latent_tokens'),
        (
            lambda state: state.update({'encoder.cls_head.weight': torch.zeros(1)}),
            'TiTok: unknown key encoder.cls_head',
        ),
        (lambda state: state.pop('encoder.ln_pre.weight'), 'encoder.transformer.norm_in.weight'),
        (
            lambda state: state.update({'encoder.positional_embedding': torch.zeros(12, 16)}),
            'TiTok: 11 patches in the encoder are no square',
        ),
        (
            lambda state: state.update({'encoder.positional_embedding': torch.zeros(10, 16)}),
            'TiTok: the encoder takes images of 12 pixels a side, the decoder gives 16',
        ),
        (
            lambda state: state.update({'encoder.latent_token_positional_embedding': torch.zeros(5, 16)}),
            'encoder.latent_tokens',
        ),
    ],
)
def test_other_files_are_refused_in_one_line(change: Any, message: str):
    state = peer_state(KINDS['single stage']())
    change(state)
    with pytest.raises(UserError) as caught:
        build_from_peer('titok', state, **OPTIONS)
    assert message in str(caught.value)
    assert '\n' not in str(caught.value)


def test_the_number_of_heads_is_asked_for_if_the_width_does_not_tell_it():
    with pytest.raises(
        UserError, match=r'^TiTok: a width of 16 does not tell the number of heads; give it with --heads\.$'
    ):
        build_from_peer('titok', peer_state(KINDS['single stage']()))
