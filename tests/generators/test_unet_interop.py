"""Files of ADM and of latent diffusion: the networks in them, which weights are taken, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.interop.convert import convert_file
from fvq_generators.diffusion.noise_schedules import betas
from fvq_generators.image_generator import ImageGenerator
from fvq_generators.interop.adm import import_adm
from tests.tiny import build_from_peer

from .openai_unet import OpenAIUNet

pytest.importorskip('diffusers', reason='needs diffusers (the extra `diffusers`)')

X, T = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 700])
LABELS = torch.tensor([1, 4])


def peer(**options: Any) -> OpenAIUNet:
    torch.manual_seed(0)
    return OpenAIUNet(**options).eval()


def ldm_state(network: OpenAIUNet, **more: Tensor) -> dict[str, Tensor]:
    """A file of latent diffusion's, of five classes and none."""
    torch.manual_seed(2)
    state = {f'model.diffusion_model.{key}': value for key, value in network.state_dict().items()}
    return {**state, 'cond_stage_model.embedding.weight': torch.randn(6, 12), **more}


@pytest.mark.parametrize(
    'options',
    [
        dict(out=6, scale_shift=True, residual_sampling=True),
        dict(out=6, scale_shift=True, residual_sampling=True, blocks=2, widths=(32, 32, 64), attends=(0, 2)),
        dict(head_width=32),
        dict(new_order=True),
    ],
)
def test_files_of_adm_hold_the_same_network(options: dict[str, Any]):
    theirs = peer(**options)
    given: dict[str, Any] = dict(grid=(8, 8), head_width=options.get('head_width', 16))
    if 'new_order' in options:
        given['new_attention_order'] = True
    ours = build_from_peer('adm', theirs.state_dict(), **given)
    assert ours.num_classes == 5
    assert ours.clip
    assert ours.process.learned_variance == (options.get('out') == 6)
    with torch.no_grad():
        torch.testing.assert_close(ours.network(X, T, LABELS), theirs(X, T, LABELS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('options', 'given'),
    [
        (dict(heads=1), {}),
        (dict(heads=2, depth=2, blocks=2), dict(heads=2)),
        (dict(head_width=16, widths=(32, 64, 64), attends=(0, 1)), dict(head_width=16)),
    ],
)
def test_files_of_latent_diffusion_hold_the_same_network(options: dict[str, Any], given: dict[str, Any]):
    theirs = peer(context=12, **options)
    state = ldm_state(theirs)
    ours = build_from_peer('ldm', state, grid=(8, 8), **given)
    with torch.no_grad():
        context = state['cond_stage_model.embedding.weight'][LABELS][:, None]
        torch.testing.assert_close(ours.network(X, T, LABELS), theirs(X, T, context), rtol=1e-4, atol=1e-5)
    assert (ours.num_classes, ours.condition.drop_rate > 0) == (5, True)


def test_the_average_is_taken_and_said_and_tables_are_left(tmp_path: Path):
    theirs, average = peer(context=12, heads=1), peer(context=12, heads=1)
    for parameter in average.parameters():
        parameter.data.mul_(1.01)
    state = ldm_state(theirs, betas=betas('sqrt_linear', 40).float(), alphas_cumprod=torch.ones(40))
    state['first_stage_model.decoder.conv_in.weight'] = torch.ones(1)
    state['model_ema.decay'] = torch.tensor(0.9999)
    state |= {f'model_ema.diffusion_model{key.replace(".", "")}': value for key, value in average.named_parameters()}
    torch.save({'state_dict': state, 'global_step': 3}, tmp_path / 'model.ckpt')
    for choice, network in ((None, average), ('raw', theirs)):
        folder = tmp_path / f'ours_{choice}'
        ours = convert_file('ldm', tmp_path / 'model.ckpt', folder, choice, grid=(8, 8))
        assert ours.process.steps == 40
        with torch.no_grad():
            context = state['cond_stage_model.embedding.weight'][LABELS][:, None]
            torch.testing.assert_close(
                ours.network(X, T // 20, LABELS), network(X, T // 20, context), rtol=1e-4, atol=1e-5
            )
        config = json.loads((folder / 'config.json').read_text())
        assert ('model_ema' in config['weights']) == (choice is None)
        assert config['sampling'] == dict(cfg_scale=1.5, solver='ddim', eta=1.0, spacing='strided')
    sample = ImageGenerator.load(tmp_path / 'ours_None').generator.sample(LABELS, seeds=[1, 2], steps=2)
    assert sample.values.shape == (2, 3, 8, 8)


def test_a_converted_adm_needs_no_tokenizer_to_draw_images(tmp_path: Path):
    torch.save(peer(out=6, scale_shift=True, residual_sampling=True).state_dict(), tmp_path / 'adm.pt')
    convert_file('adm', tmp_path / 'adm.pt', tmp_path / 'adm', grid=(8, 8), head_width=16)
    model = ImageGenerator.from_pretrained(tmp_path / 'adm')
    images = model.sample([0, 3], seeds=[1, 2], steps=3)
    assert images.shape == (2, 3, 8, 8)
    assert images.abs().max() <= 1
    torch.testing.assert_close(model.sample([3], seeds=[2], steps=3)[0], images[1], rtol=1e-3, atol=1e-3)


def released(**options: Any) -> dict[str, Tensor]:
    """Keys and shapes of a released model of ADM's."""
    options = {
        **dict(blocks=2, head_width=64, out=6, scale_shift=True, residual_sampling=True, classes=1000),
        **options,
    }
    with torch.device('meta'):
        return OpenAIUNet(**options).state_dict()


@pytest.mark.parametrize(
    ('options', 'side', 'schedule'),
    [
        (dict(widths=(192, 384, 576, 768), blocks=3, attends=(1, 2, 3)), 64, 'cosine'),
        (dict(widths=(256, 256, 512, 512, 1024, 1024), attends=(3, 4, 5)), 256, 'linear'),
    ],
)
def test_releases_of_adm_are_known_by_their_levels(options: dict[str, Any], side: int, schedule: str):
    config, _ = import_adm(released(**options))
    assert config['layout'] == dict(type='Grid', height=side, width=side, channels=3)
    assert (config['schedule'], config['arguments']['attention_head_dim']) == (schedule, 64)
    assert import_adm(released(**options), noise_schedule='linear')[0]['schedule'] == 'linear'


def test_the_release_of_64_pixels_splits_queries_keys_and_values_first():
    rows = torch.arange(3.0 * 384)
    state = released(widths=(192, 384, 576, 768), blocks=3, attends=(1, 2, 3))
    state['input_blocks.5.1.qkv.bias'] = rows
    own, by_head = (import_adm(state, new_attention_order=choice)[1] for choice in (None, False))
    key = 'unet.unet.down_blocks.1.attentions.0.to_k.bias'
    torch.testing.assert_close(own[key], rows[384:768])
    torch.testing.assert_close(by_head[key][:65], torch.cat([rows[64:128], rows[256:257]]))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(widths=(256, 256, 512, 768, 1024), attends=(2, 3, 4)), '128 pixels has four heads'),
        (dict(widths=(128, 256, 256, 512, 512, 1024, 1024), attends=(4, 5, 6), model_width=256), '512 pixels'),
        (dict(widths=(192, 192, 384, 384, 768, 768), attends=(3, 4, 5), inputs=6), 'Upsamplers'),
    ],
)
def test_releases_of_adm_that_no_unet_of_diffusers_equals_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        import_adm(released(**options))


@pytest.mark.parametrize(
    ('name', 'changes', 'given', 'message'),
    [
        ('adm', {'label_emb.weight': None}, {}, 'only models of classes'),
        ('adm', {'input_blocks.0.0.weight': None}, {}, 'not a U-Net in its layout'),
        ('adm', {'input_blocks.9.0.op.weight': torch.ones(1)}, {}, r'ADM: unknown key input_blocks\.9\.0\.op\.weight'),
        ('adm', {'middle_block.1.norm.bias': None}, {}, 'mid_block.attentions.0.group_norm.bias'),
        ('adm', {'out.2.weight': torch.ones(4, 32, 3, 3)}, {}, 'a network from 3 to 4 channels'),
        ('adm', {}, dict(head_width=None), r'levels of \[32, 64\] channels.*--grid and --head-width'),
        ('adm', {}, dict(head_width=24), '64 channels do not divide into heads of 24'),
        ('ldm', {'cond_stage_model.embedding.weight': None}, {}, 'only its models of classes'),
        ('ldm', {'control_model.x': torch.ones(1)}, {}, r'latent diffusion: unknown key control_model\.x'),
        ('ldm', {'betas': torch.linspace(1e-4, 0.02, 40)}, {}, 'betas from 0.0001 to 0.02 are not those'),
        ('ldm', {}, dict(heads=1, head_width=16), 'give one of them'),
        ('ldm', {}, dict(heads=3), r'3 heads do not divide \[64\] channels'),
    ],
)
def test_what_is_not_their_file_is_refused_by_name(
    name: str, changes: dict[str, Tensor | None], given: dict[str, Any], message: str
):
    state = peer().state_dict() if name == 'adm' else ldm_state(peer(context=12, heads=1))
    changed = {key: value for key, value in {**state, **changes}.items() if value is not None}
    given = {**(dict(head_width=16) if name == 'adm' else {}), **given}
    with pytest.raises(UserError, match=message):
        build_from_peer(name, changed, grid=(8, 8), **given)
