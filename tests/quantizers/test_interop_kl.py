"""KL autoencoders in the layouts of latent diffusion, MAR and diffusers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq.commands import convert
from fvq_core.autoencoders import KLAutoencoder
from fvq_core.errors import UserError
from fvq_core.registry import TOKENIZERS

from ..tiny import build_from_peer, random_images
from .test_interop import VECTOR, peer_state, taming_state, tokenizer


def autoencoder(
    attention: Any = True, decoder_attention: Any = True, latent_channels: int = 4, **changes: Any
) -> KLAutoencoder:
    """Three levels of 32 and 64 channels, every parameter random."""
    half = dict(ch=32, ch_mult=[1, 1, 2], num_res_blocks=1)
    config = dict(
        type='KLAutoencoder',
        encoder=dict(type='VQGANEncoder', **half, z_channels=8, attention=attention),
        decoder=dict(type='VQGANDecoder', **half, z_channels=4, attention=decoder_attention),
        latent_channels=latent_channels,
    )
    built: KLAutoencoder = TOKENIZERS.build(config | changes)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return built.eval()


def diffusers_state(ours: KLAutoencoder, old: bool = False) -> dict[str, Tensor]:
    """The same in diffusers' keys, those before 0.15 if `old`."""
    found = {}
    names = dict(norm='group_norm', q='query', k='key', v='value', proj_out='proj_attn')
    if not old:
        names = dict(norm='group_norm', q='to_q', k='to_k', v='to_v', proj_out='to_out.0')
    for key, value in ours.state_dict().items():
        theirs = re.sub(r'encoder\.levels\.', 'encoder.down_blocks.', key)
        theirs = re.sub(r'decoder\.levels\.', 'decoder.up_blocks.', theirs)
        theirs = re.sub(r'\.mid\.([02])\.', lambda m: f'.mid_block.resnets.{int(m[1]) // 2}.', theirs)
        theirs = theirs.replace('.mid.1.', '.mid_block.attentions.0.').replace('.attention.', '.attentions.')
        theirs = theirs.replace('.blocks.', '.resnets.').replace('.shortcut.', '.conv_shortcut.')
        theirs = theirs.replace('.norm_out.', '.conv_norm_out.')
        theirs = re.sub(r'\.(down|up)sample\.', r'.\1samplers.0.', theirs)
        theirs = theirs.replace('pre_quant.', 'quant_conv.').replace('post_quant.', 'post_quant_conv.')
        attention = re.fullmatch(r'(.*\.attentions\.\d+)\.(\w+)\.(weight|bias)', theirs)
        if attention:
            theirs = f'{attention[1]}.{names[attention[2]]}.{attention[3]}'
            value = value.flatten(1) if value.dim() == 4 else value
        found[theirs] = value
    return found


@torch.no_grad()
def assert_same(ours: KLAutoencoder, imported: KLAutoencoder) -> None:
    images = random_images(height=16, width=12)
    one, other = ours.posterior(images), imported.posterior(images)
    assert one.mean.std() > 1e-3
    assert torch.equal(one.mean, other.mean)
    assert torch.equal(one.log_variance, other.log_variance)
    assert torch.equal(ours(images).reconstruction, imported(images).reconstruction)
    assert not imported.training


@pytest.mark.parametrize('attention', [(True, True), (True, []), ([], []), ([0, 2], [1]), (False, False)])
def test_latent_diffusion_and_mar(attention: tuple[Any, Any]):
    ours = autoencoder(*attention)
    others = {'loss.logvar': torch.zeros(()), 'loss.discriminator.main.0.weight': torch.zeros(1)}
    found = build_from_peer('ldm-kl', {'state_dict': taming_state(ours) | others})
    assert_same(ours, found)
    assert (found.encoder.component_config['attention'], found.decoder.component_config['attention']) == attention
    assert (found.latent_scale, found.latent_shift) == (1.0, 0.0)
    found = build_from_peer('mar-kl', {'model': taming_state(ours)})
    assert_same(ours, found)
    assert found.latent_scale == 0.2325


@pytest.mark.parametrize('old', [False, True])
@pytest.mark.parametrize('attention', [(True, True), ([], []), (False, False), (True, [])])
def test_diffusers(attention: tuple[Any, Any], old: bool):
    ours = autoencoder(*attention)
    assert_same(ours, build_from_peer('diffusers-kl', diffusers_state(ours, old), latent_scale=0.5))


def test_stable_diffusion_holds_its_autoencoder_beside_other_models():
    ours = autoencoder([], [])
    whole = {f'first_stage_model.{key}': value for key, value in taming_state(ours).items()}
    whole |= {'model.diffusion_model.out.2.weight': torch.zeros(3), 'cond_stage_model.x': torch.zeros(1)}
    assert_same(ours, build_from_peer('ldm-kl', {'state_dict': whole}))


def test_latents_narrower_or_wider_than_the_features():
    for D in (3, 6):
        ours = autoencoder(latent_channels=D)
        assert_same(ours, build_from_peer('ldm-kl', taming_state(ours)))


def test_a_file_without_quant_convolutions():
    ours = autoencoder(quant_kernel=0)
    imported = build_from_peer('diffusers-kl', diffusers_state(ours), latent_scale=0.3611, latent_shift=0.1159)
    assert_same(ours, imported)
    assert (imported.latent_scale, imported.latent_shift) == (0.3611, 0.1159)


def test_mar_without_a_variance_has_a_log_variance_of_one():
    ours = autoencoder(log_variance=1.0)
    imported = build_from_peer('mar-kl', {'model': taming_state(ours)})
    assert_same(ours, imported)
    assert imported.log_variance == 1.0


def test_f8_with_four_channels_has_the_scale_of_stable_diffusion():
    half = dict(ch=32, ch_mult=[1, 1, 1, 1], num_res_blocks=1, attention=[])
    ours = autoencoder(
        encoder=dict(type='VQGANEncoder', **half, z_channels=8), decoder=dict(type='VQGANDecoder', **half, z_channels=4)
    )
    for peer, state in (('ldm-kl', taming_state(ours)), ('diffusers-kl', diffusers_state(ours))):
        assert build_from_peer(peer, state).latent_scale == 0.18215
        assert build_from_peer(peer, state, latent_scale=0.13025).latent_scale == 0.13025


def test_norms_of_fewer_groups():
    half = dict(ch=8, ch_mult=[1, 1, 2], num_res_blocks=1, norm_groups=4)
    ours = autoencoder(
        encoder=dict(type='VQGANEncoder', **half, z_channels=8), decoder=dict(type='VQGANDecoder', **half, z_channels=4)
    )
    assert_same(ours, build_from_peer('diffusers-kl', diffusers_state(ours), norm_groups=4))
    with pytest.raises(UserError, match='8 channels are not a multiple of 32 groups; change ch or norm_groups'):
        build_from_peer('diffusers-kl', diffusers_state(ours))


@pytest.mark.parametrize('peer', ['ldm-kl', 'mar-kl'])
def test_another_model_is_refused_in_one_line(peer: str):
    ours = autoencoder()
    with pytest.raises(UserError, match=r"it has codes .*; import it as a 'taming' checkpoint"):
        build_from_peer(peer, peer_state(tokenizer(VECTOR)))
    with pytest.raises(UserError, match='not a tokenizer in the layout of taming-transformers'):
        build_from_peer(peer, diffusers_state(ours))
    with pytest.raises(UserError, match=r'unknown key encoder\.down\.0\.extra'):
        build_from_peer(peer, taming_state(ours) | {'encoder.down.0.extra': torch.zeros(1)})
    plain = taming_state(tokenizer(VECTOR))  # its encoder has no log variance
    with pytest.raises(UserError, match='8 channels of the encoder lead to 8, and 8 to the decoder; a KL autoencoder'):
        build_from_peer(peer, plain)


def test_another_model_is_refused_by_the_importer_of_diffusers():
    ours = autoencoder()
    with pytest.raises(UserError, match=r'diffusers: not its AutoencoderKL: no encoder\.conv_norm_out\.weight'):
        build_from_peer('diffusers-kl', taming_state(ours))
    with pytest.raises(UserError, match=r'diffusers: unknown key decoder\.up_blocks\.0\.motion'):
        build_from_peer('diffusers-kl', diffusers_state(ours) | {'decoder.up_blocks.0.motion': torch.zeros(1)})


def test_the_codes_of_a_kl_autoencoder_are_not_looked_for():
    with pytest.raises(UserError, match=r'VQGAN: no quantize\.embedding\.weight'):
        build_from_peer('taming', taming_state(autoencoder()))


def test_the_command_tells_channels_and_scale(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    ours = autoencoder(True, [])
    torch.save({'model': taming_state(ours)}, tmp_path / 'kl16.ckpt')
    arguments = ['mar-kl', str(tmp_path / 'kl16.ckpt'), str(tmp_path / 'out')]
    assert convert.main(arguments) == 0
    said = capsys.readouterr().out
    assert 'KLAutoencoder with latents of 4 channels, scale 0.2325 and shift 0.0, from mar-kl: kl16.ckpt' in said
    assert_same(ours, KLAutoencoder.from_pretrained(tmp_path / 'out'))
    assert convert.main([*arguments, '--latent-scale', '0.5', '--latent-shift', '0.25']) == 0
    loaded = KLAutoencoder.from_pretrained(tmp_path / 'out')
    assert (loaded.latent_scale, loaded.latent_shift) == (0.5, 0.25)
