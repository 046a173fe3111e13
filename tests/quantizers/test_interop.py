"""Checkpoints in the layouts of other projects: the same weights under a peer's keys give the same tokenizer back."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq.commands import convert
from fvq_core.codes import Grid
from fvq_core.errors import UserError
from fvq_core.files.torch_weights import read_state_dict
from fvq_core.interop.convert import convert_file
from fvq_core.registry import TOKENIZERS
from fvq_core.saving.read_folder import read_config
from fvq_core.tokenizer import Tokenizer
from tests.tiny import build_from_peer

from ..tiny import random_images

VECTOR = dict(type='VectorQuantizer', codebook_size=16, code_dim=8)
BRIDGE = dict(type='DiTBridge', patch_size=4, patching='grid', hidden_dim=8, output_scale=1.0)
SCALES = [1, 2, 4]
MULTI_SCALE = dict(type='MultiScaleQuantizer', quantizer=VECTOR, scales=SCALES, num_phi=2)
RESIDUAL = dict(type='ResidualQuantizer', quantizer=VECTOR, depth=2)


def tokenizer(quantizer: Mapping[str, Any], attention: Any = True, quant_kernel: int = 1) -> Tokenizer:
    """Three levels of 32 and 64 channels, every parameter random, so that a misplaced one shows."""
    half = dict(ch=32, ch_mult=[1, 1, 2], num_res_blocks=1, z_channels=8, attention=attention)
    built = TOKENIZERS.build(
        dict(
            type='Tokenizer',
            encoder=dict(type='VQGANEncoder', **half),
            quantizer=dict(quantizer),
            decoder=dict(type='VQGANDecoder', **half),
            quant_kernel=quant_kernel,
        )
    )
    for name, parameter in built.named_parameters():  # latents as wide as the codes, so that several are used
        torch.nn.init.normal_(parameter, std=1.0 if name.endswith(('pre_quant.weight', 'embedding')) else 0.1)
    return built.eval()


def taming_state(ours: Tokenizer) -> dict[str, Tensor]:
    """Encoder, decoder and quant convolutions under the keys of taming-transformers."""
    found, last = {}, len(ours.decoder.levels) - 1
    for key, value in ours.state_dict().items():
        if key.startswith('quantizer.'):
            continue
        theirs = re.sub(r'encoder\.levels\.(\d)\.', r'encoder.down.\1.', key)
        theirs = re.sub(r'decoder\.levels\.(\d)\.', lambda m: f'decoder.up.{last - int(m[1])}.', theirs)
        theirs = theirs.replace('.blocks.', '.block.').replace('.attention.', '.attn.')
        theirs = theirs.replace('.shortcut.', '.nin_shortcut.')
        for index, name in enumerate(('block_1', 'attn_1', 'block_2')):
            theirs = theirs.replace(f'.mid.{index}.', f'.mid.{name}.')
        theirs = theirs.replace('pre_quant.', 'quant_conv.').replace('post_quant.', 'post_quant_conv.')
        found[theirs] = value
    return found


def llamagen_state(ours: Tokenizer) -> dict[str, Tensor]:
    """The same under the keys of LlamaGen."""
    found = {}
    for key, value in ours.state_dict().items():
        if not key.startswith('quantizer.'):
            theirs = (
                key.replace('.levels.', '.conv_blocks.').replace('.blocks.', '.res.').replace('.attention.', '.attn.')
            )
            theirs = theirs.replace('.shortcut.', '.nin_shortcut.')
            found[theirs.replace('pre_quant.', 'quant_conv.').replace('post_quant.', 'post_quant_conv.')] = value
    return found


def bridge_state(ours: Tokenizer, prefix: str) -> dict[str, Tensor]:
    """The DiT bridge under `prefix` as the release names it: its compression is a convolution."""
    found = {}
    for key, value in ours.state_dict().items():
        if not key.startswith(f'{prefix}projector.'):
            continue
        theirs = key.removeprefix(f'{prefix}projector.')
        theirs = re.sub(r'^blocks\.(\d)\.modulation\.', r'blocks.\1.adaLN_modulation.1.', theirs)
        theirs = re.sub(r'^modulation\.', 'final_layer.adaLN_modulation.1.', theirs)
        theirs = re.sub(r'^expand\.', 'final_layer.linear.', theirs)
        theirs = re.sub(r'^label_table\.', 'y_embedder.embedding_table.', theirs)
        theirs = re.sub(r'^compress\.', 'x_embedder.proj.', theirs)
        if theirs == 'x_embedder.proj.weight':
            value = value.view(-1, 2, 2, 8).permute(0, 3, 1, 2)
        if theirs == 'positions':
            theirs, value = 'pos_embed', value[None]
        found[f'quantize.qbridge.{theirs}'] = value
    return found


def var_state(ours: Tokenizer) -> dict[str, Tensor]:
    """One convolution for queries, keys and values, and a count of hits."""
    state = taming_state(ours)
    for key in [key for key in state if '.q.' in key]:
        state[key.replace('.q.', '.qkv.')] = torch.cat([state.pop(key.replace('.q.', f'.{part}.')) for part in 'qkv'])
    inner = ours.quantizer.quantizer
    state['quantize.embedding.weight'] = inner.embedding.detach()
    for index, phi in enumerate(ours.quantizer.phis):
        state[f'quantize.quant_resi.qresi_ls.{index}.weight'] = phi.weight.detach()
        state[f'quantize.quant_resi.qresi_ls.{index}.bias'] = phi.bias.detach()
    state['quantize.ema_vocab_hit_SV'] = torch.zeros(len(ours.quantizer.scales), 16)
    return state


def rq_state(ours: Tokenizer) -> dict[str, Tensor]:
    """A codebook with a padding row for each depth, the shared one repeated, and EMA statistics."""
    state = taming_state(ours)
    for depth in range(ours.quantizer.depth):
        vq = ours.quantizer.at_depth(depth)
        state[f'quantizer.codebooks.{depth}.weight'] = torch.cat([vq.embedding.detach(), torch.zeros(1, vq.code_dim)])
        state[f'quantizer.codebooks.{depth}.cluster_size_ema'] = torch.full((vq.codebook_size,), 3.0)
        state[f'quantizer.codebooks.{depth}.embed_ema'] = 3.0 * vq.embedding.detach()
    return state


@torch.no_grad()
def assert_same_tokenizer(ours: Tokenizer, imported: Tokenizer) -> None:
    images = random_images(height=16, width=16)
    latent = ours.encode_latent(images)
    assert latent.std((2, 3)).min() > 1e-3
    assert torch.equal(latent, imported.encode_latent(images))
    one, other = ours(images), imported(images)
    assert one.codes.layout == other.codes.layout
    assert torch.equal(one.codes.indices_BL, other.codes.indices_BL)
    assert torch.equal(one.reconstruction, other.reconstruction)
    assert not imported.training


@pytest.mark.parametrize('attention', [True, False, [], [1], [0, 2]])
def test_vqgan(attention: bool | list[int]):
    ours = tokenizer(VECTOR, attention)
    state = taming_state(ours) | {'quantize.embedding.weight': ours.quantizer.embedding.detach()}
    others = {'loss.discriminator.main.0.weight': torch.zeros(1), 'colorize': torch.zeros(3, 2, 1, 1)}
    imported = build_from_peer('taming', state | others)
    assert_same_tokenizer(ours, imported)
    assert imported.encoder.component_config['attention'] == attention
    assert imported.quantizer.component_config['loss'] == dict(type='VQLoss', legacy=True)


def test_vqgan_inside_a_second_stage():
    ours = tokenizer(VECTOR)
    state = taming_state(ours) | {'quantize.embedding.weight': ours.quantizer.embedding.detach()}
    whole = {f'first_stage_model.{key}': value for key, value in state.items()} | {'transformer.head': torch.zeros(1)}
    assert_same_tokenizer(ours, build_from_peer('taming', whole))


def test_vqgan_with_ema_codes_keeps_its_statistics():
    ours = tokenizer(VECTOR)
    codes = ours.quantizer.embedding.detach()
    state = taming_state(ours) | {
        'quantize.embedding.weight': codes,
        'quantize.embedding.cluster_size': torch.arange(16.0),
        'quantize.embedding.embed_avg': 2 * codes,
    }
    imported = build_from_peer('taming', state)
    assert_same_tokenizer(ours, imported)
    assert torch.equal(imported.quantizer.update.counts_K, torch.arange(16.0))
    assert torch.equal(imported.quantizer.update.sums_KD, 2 * codes)


def test_vqgan_with_gumbel_codes():
    ours = tokenizer(dict(type='GumbelQuantizer', codebook_size=16, code_dim=8))
    state = taming_state(ours) | {
        'quantize.embed.weight': ours.quantizer.embedding.detach(),
        'quantize.proj.weight': ours.quantizer.to_logits.weight.detach()[:, :, None, None],
        'quantize.proj.bias': ours.quantizer.to_logits.bias.detach(),
    }
    assert_same_tokenizer(ours, build_from_peer('taming', state))


def test_vqgan_without_a_codebook_is_refused():
    with pytest.raises(UserError, match=r'VQGAN: no quantize\.embedding\.weight or'):
        build_from_peer('taming', taming_state(tokenizer(VECTOR)))


def test_rqvae_with_a_shared_codebook():
    ours = tokenizer(RESIDUAL)
    imported = build_from_peer('rqvae', rq_state(ours))
    assert_same_tokenizer(ours, imported)
    assert imported.quantizer.shared
    assert torch.equal(imported.quantizer.quantizer.update.counts_K, torch.full((16,), 3.0))


def test_rqvae_with_codebooks_of_several_sizes():
    ours = tokenizer(dict(RESIDUAL, shared=False, codebook_sizes=[16, 12]))
    imported = build_from_peer('rqvae', rq_state(ours))
    assert_same_tokenizer(ours, imported)
    assert imported.quantizer.layout(Grid(4, 4)).vocabularies == (16, 12)


def test_rqvae_whose_codes_cover_several_latents():
    wide = dict(RESIDUAL, quantizer=dict(VECTOR, code_dim=32))
    square, column = (tokenizer(dict(wide, space_to_depth=joined)) for joined in ([2, 2], [4, 1]))
    assert_same_tokenizer(square, build_from_peer('rqvae', rq_state(square)))
    assert_same_tokenizer(column, build_from_peer('rqvae', rq_state(column), space_to_depth=[4, 1]))
    with pytest.raises(UserError, match=r'codes of 32 channels cover several latents of 8, but not 3x1'):
        build_from_peer('rqvae', rq_state(column), space_to_depth=[3, 1])


def test_var():
    ours = tokenizer(MULTI_SCALE, quant_kernel=3)
    imported = build_from_peer('var', var_state(ours), scales=SCALES)
    assert_same_tokenizer(ours, imported)
    assert imported.pre_quant.kernel_size == (3, 3)


@pytest.mark.parametrize('options', [dict(num_phi=1), dict(num_phi=None), dict(phi_ratio=0.0)])
def test_var_with_other_phis(options: dict[str, Any]):
    ours = tokenizer({**MULTI_SCALE, **options})
    shared = 'num_phi' in options and options['num_phi'] == 1
    name = 'quant_resi.qresi.' if shared else r'quant_resi.\1.'
    state = {re.sub(r'quant_resi\.qresi_ls\.(\d)\.', name, key): value for key, value in var_state(ours).items()}
    imported = build_from_peer('var', state, scales=SCALES)
    assert_same_tokenizer(ours, imported)
    assert len(imported.quantizer.phis) == len(ours.quantizer.phis)


def test_var_that_chooses_by_cosine_and_blends_otherwise():
    cosine = dict(VECTOR, normalize=dict(type='CosineSearch'), distance=dict(type='DotProduct'))
    ours = tokenizer(dict(MULTI_SCALE, quantizer=cosine, phi_ratio=0.25))
    state = var_state(ours)
    assert_same_tokenizer(ours, build_from_peer('var', state, scales=SCALES, l2_norm=True, phi_ratio=0.25))


def test_var_of_ten_scales_has_the_published_sides_and_others_must_be_told():
    ours = tokenizer(MULTI_SCALE)
    state = var_state(ours)
    for wrong in ({}, dict(scales=SCALES[:2])):
        with pytest.raises(
            UserError, match='the file has 3 scales and does not store their sizes; expected as many, got'
        ):
            build_from_peer('var', state, **wrong)
    state['quantize.ema_vocab_hit_SV'] = torch.zeros(10, 16)
    assert build_from_peer('var', state).quantizer.layout(Grid(16, 16)).length == 680


def test_multi_scale_variant_of_fvq():
    ours = tokenizer(dict(MULTI_SCALE, quantizer=dict(VECTOR, projector=BRIDGE)), quant_kernel=3)
    state = var_state(ours) | bridge_state(ours, 'quantizer.quantizer.') | {'quantize.codebook_used': torch.zeros(9)}
    imported = build_from_peer('fvq', state, scales=SCALES)
    assert_same_tokenizer(ours, imported)
    assert_same_tokenizer(ours, imported.fold())


def test_what_no_file_of_fvq_records_can_be_given():
    wide = dict(MULTI_SCALE, phi_ratio=0.25, quantizer=dict(VECTOR, projector=dict(BRIDGE, num_heads=2)))
    ours = tokenizer(wide, quant_kernel=3)
    state = var_state(ours) | bridge_state(ours, 'quantizer.quantizer.')
    assert_same_tokenizer(ours, build_from_peer('fvq', state, scales=SCALES, phi_ratio=0.25, heads=2))


def test_residual_variant_of_fvq():
    ours = tokenizer(dict(RESIDUAL, quantizer=dict(VECTOR, projector=BRIDGE), depth=4))
    state = llamagen_state(ours) | bridge_state(ours, 'quantizer.quantizers.0.')
    state['quantize.embedding.weight'] = ours.quantizer.quantizer.embedding.detach()
    imported = build_from_peer('fvq', state, depth=4)
    assert_same_tokenizer(ours, imported)
    assert (
        build_from_peer('fvq', state).quantizer.layout(Grid(4, 4)).length == 16
    )  # the keys alone say nothing of depths


def test_options_of_another_variant_are_refused():
    ours = tokenizer(MULTI_SCALE)
    with pytest.raises(UserError, match=r'depth to the residual one, .* layout of VAR'):
        build_from_peer('fvq', var_state(ours), scales=SCALES, depth=4)
    plain = tokenizer(VECTOR)
    state = llamagen_state(plain) | {'quantize.embedding.weight': plain.quantizer.embedding.detach()}
    for option in (dict(scales=SCALES), dict(phi_ratio=0.25)):
        with pytest.raises(UserError, match='scales and phi_ratio belong to the VAR variant'):
            build_from_peer('fvq', state, **option)
    with pytest.raises(UserError, match='has no attention and takes no heads, got 8'):
        build_from_peer('fvq', state, heads=8)
    with pytest.raises(UserError, match="the importer of 'llamagen' has no option 'depth'"):
        build_from_peer('llamagen', state, depth=4)


@pytest.mark.parametrize('peer', ['taming', 'rqvae', 'var'])
def test_another_layout_is_refused(peer: str):
    with pytest.raises(UserError, match='not a tokenizer in the layout of taming-transformers'):
        build_from_peer(peer, {'weight': torch.zeros(1)})


def test_unknown_keys_are_refused():
    ours = tokenizer(MULTI_SCALE)
    with pytest.raises(UserError, match=r'VAR: unknown key encoder\.down\.0\.extra'):
        build_from_peer('var', var_state(ours) | {'encoder.down.0.extra': torch.zeros(1)}, scales=SCALES)


def test_an_averaged_copy_of_the_weights_goes_first(tmp_path: Path):
    raw, averaged = ({'quant_conv.weight': torch.full((1,), value)} for value in (1.0, 2.0))
    torch.save({'state_dict': raw, 'state_dict_ema': averaged, 'epoch': 3}, tmp_path / 'model.pt')
    assert read_state_dict(tmp_path / 'model.pt')['quant_conv.weight'].item() == 2.0


def peer_state(ours: Tokenizer) -> dict[str, Tensor]:
    return taming_state(ours) | {'quantize.embedding.weight': ours.quantizer.embedding.detach()}


def converted(peer: str, content: Any, folder: Path, *options: str) -> tuple[Tokenizer, str]:
    """The tokenizer that the command writes from a file, and where it says that the weights are from."""
    torch.save(content, folder / 'file.ckpt')
    assert convert.main([peer, str(folder / 'file.ckpt'), str(folder / 'out'), *options]) == 0
    return Tokenizer.from_pretrained(folder / 'out'), read_config(folder / 'out', Tokenizer.saved_kind)['weights']


def test_a_file_of_lightning_whose_module_holds_the_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    ours = tokenizer(VECTOR)
    state = {f'vqgan._orig_mod.{key}': value for key, value in peer_state(ours).items()}
    content = {
        'state_dict': state | {'loss.discriminator.main.0.weight': torch.zeros(1)},
        'pytorch-lightning_version': '2.0',
        'hyper_parameters': argparse.Namespace(lr=1.0),
    }
    found, origin = converted('taming', content, tmp_path)
    assert_same_tokenizer(ours, found)
    assert origin == (
        "taming: file.ckpt, weights of 'state_dict.vqgan'; left out: pytorch-lightning_version, hyper_parameters "
        '(argparse.Namespace), loss.*'
    )
    assert origin in capsys.readouterr().out


def test_a_training_file_of_var_holds_two_models(tmp_path: Path):
    ours = tokenizer(MULTI_SCALE, quant_kernel=3)
    content = {'trainer': {'var_wo_ddp': {'head.weight': torch.zeros(3, 3)}, 'vae_local': var_state(ours)}, 'epoch': 1}
    found, origin = converted('var', content, tmp_path, '--scales', '1', '2', '4')
    assert_same_tokenizer(ours, found)
    assert origin == "var: file.ckpt, weights of 'trainer.vae_local'; left out: epoch, trainer.var_wo_ddp"


@pytest.mark.parametrize(('choice', 'which'), [((), 1), (('--weights', 'ema'), 1), (('--weights', 'raw'), 0)])
def test_average_or_raw_weights_can_be_chosen(choice: tuple[str, ...], which: int, tmp_path: Path):
    both = tokenizer(VECTOR), tokenizer(VECTOR)
    raw, average = (peer_state(each) for each in both)
    found, _ = converted('taming', {'model': raw, 'ema': average}, tmp_path, *choice)
    assert_same_tokenizer(both[which], found)


def test_an_average_that_does_not_fit_is_an_error_and_not_a_reason_to_take_the_raw_weights(tmp_path: Path):
    state = peer_state(tokenizer(VECTOR))
    torch.save({'model': state, 'ema': {**state, 'encoder.other': torch.zeros(2)}}, tmp_path / 'file.pt')
    with pytest.raises(UserError, match=r'file\.pt: VQGAN: unknown key encoder\.other'):
        convert_file('taming', tmp_path / 'file.pt', tmp_path / 'out')


@pytest.mark.parametrize(
    ('tensor', 'said'),
    [
        (torch.full((16, 8), float('nan')), 'values that are not finite, the first is quantizer.embedding'),
        (torch.ones(16, 8, dtype=torch.int64), r'quantizer\.embedding is torch\.int64, expected torch\.float32'),
        (torch.ones(16, 8, dtype=torch.complex64), r'quantizer\.embedding is torch\.complex64'),
        (torch.ones(0, 8), r'the tensor quantizer\.embedding is empty'),
        (torch.ones(16), 'a tensor has another shape than in the released checkpoints'),
        (torch.ones(()), 'a tensor has another shape than in the released checkpoints'),
    ],
)
def test_tensors_that_are_not_weights_are_refused(tensor: Tensor, said: str, tmp_path: Path):
    state = peer_state(tokenizer(VECTOR)) | {'quantize.embedding.weight': tensor}
    torch.save(state, tmp_path / 'file.pt')
    with pytest.raises(UserError, match=said):
        convert_file('taming', tmp_path / 'file.pt', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('peer', ['var', 'fvq'])
def test_a_tokenizer_of_one_scale_is_not_one_of_many(peer: str):
    with pytest.raises(UserError, match='not a tokenizer of VAR, but one with a single scale'):
        build_from_peer(peer, peer_state(tokenizer(VECTOR)))


def test_converted_folder_loads_and_gives_the_same_images(tmp_path: Path):
    ours = tokenizer(dict(RESIDUAL, shared=False, codebook_sizes=[16, 12]))
    torch.save({'state_dict': rq_state(ours)}, tmp_path / 'rq.pt')
    convert_file('rqvae', tmp_path / 'rq.pt', tmp_path / 'out')
    loaded = Tokenizer.from_pretrained(tmp_path / 'out')
    assert_same_tokenizer(ours, loaded)
    loaded.fold().save_pretrained(tmp_path / 'folded')
    assert_same_tokenizer(ours, Tokenizer.from_pretrained(tmp_path / 'folded'))


def test_command_converts_a_tokenizer_with_sides_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    ours = tokenizer(MULTI_SCALE, quant_kernel=3)
    torch.save(var_state(ours), tmp_path / 'vae.pth')
    convert.main(['var', str(tmp_path / 'vae.pth'), str(tmp_path / 'out'), '--scales', '1', '2', '4'])
    assert '16 codes of 8 channels' in capsys.readouterr().out
    assert_same_tokenizer(ours, Tokenizer.from_pretrained(tmp_path / 'out'))


@pytest.mark.parametrize(('option', 'normalized'), [([], True), (['--l2-norm'], True), (['--no-l2-norm'], False)])
def test_command_is_told_whether_codes_are_normalized(option: list[str], normalized: bool, tmp_path: Path):
    ours = tokenizer(dict(VECTOR, normalize=dict(type='L2Normalize')) if normalized else VECTOR)
    state = llamagen_state(ours) | {'quantize.embedding.weight': ours.quantizer.embedding.detach()}
    torch.save({'model': state}, tmp_path / 'vq.pt')
    assert convert.main(['llamagen', str(tmp_path / 'vq.pt'), str(tmp_path / 'out'), *option]) == 0
    assert_same_tokenizer(ours, Tokenizer.from_pretrained(tmp_path / 'out'))


def test_command_knows_an_option_of_another_peer_before_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert convert.main(['llamagen', str(tmp_path / 'missing.pt'), str(tmp_path / 'out'), '--heads', '8']) == 2
    assert "the importer of 'llamagen' has no option 'heads'" in capsys.readouterr().err
