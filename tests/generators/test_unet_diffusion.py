"""U-Nets of diffusers in pixels and latents: what comes without the library, cascades, clipping, and what is refused."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fvq_core.autoencoder import Autoencoder
from fvq_core.autoencoders import PixelAutoencoder
from fvq_core.codes import Grid, LatentLayout, Latents, Targets
from fvq_core.errors import UserError
from fvq_core.registry import DATASETS, GENERATORS, MODELS, TOKENIZERS
from fvq_generators.codes_store import CodesStore
from fvq_generators.commands.extract_codes import main as extract
from fvq_generators.diffusion.gaussian_process import GaussianProcess
from fvq_generators.diffusion.samplers import denoise
from fvq_generators.image_generator import ImageGenerator
from fvq_generators.layers import diffusers_unet
from fvq_generators.super_resolution import blur, smaller
from tests.needs import DIFFUSERS
from tests.tiny import random_images, tiny_tokenizer

from .test_diffusion import ADM, LAYOUT, STAGE, UNETS, build

PIXELS = dict(type='Grid', height=8, width=8, channels=3)
WITHOUT = "import sys, fvq_generators; print([name for name in sys.modules if name.startswith('diffusers')])"


@pytest.mark.processes
def test_importing_the_package_does_not_import_diffusers():
    done = subprocess.run([sys.executable, '-c', WITHOUT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


@pytest.mark.parametrize('name', UNETS)
def test_without_diffusers_the_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(diffusers_unet, 'find_spec', lambda package: None)
    with pytest.raises(
        UserError, match=r'needs diffusers, not installed here; pip install "fvq-generators\[diffusers\]"'
    ):
        GENERATORS.build(UNETS[name])


@DIFFUSERS
@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        (dict(unet='UNet3DModel'), "unknown U-Net 'UNet3DModel'"),
        (dict(arguments=dict(ADM, layers=2)), "UNet2DModel: unknown argument 'layers'"),
        (dict(arguments=dict(ADM, in_channels=4)), "UNet2DModel: unknown argument 'in_channels'"),
        (dict(arguments=dict(ADM, block_out_channels=[16])), 'diffusers does not build it from these arguments'),
        (dict(arguments=dict(ADM, down_block_types=['Down', 'Down'])), 'diffusers does not build it'),
        (dict(layout=dict(PIXELS, height=7)), 'sides that 2 divides, got a layout of 7 x 8'),
        (dict(cond_dropout=1.0), r'cond_dropout must lie in \[0, 1\)'),
        (dict(objective='flow'), 'a flow is not clipped'),
        (dict(layout=dict(type='Grid', height=4, width=4, codebook_size=8)), 'layout of codes'),
        (dict(num_classes=0), 'num_classes'),
    ],
)
def test_what_cannot_be_built(changed: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        GENERATORS.build({**UNETS['ADM'], **changed})


@DIFFUSERS
@pytest.mark.parametrize(
    ('stages', 'message'),
    [
        ([dict(STAGE, factor=1)], 'such as 8, 4, 1; got'),
        ([dict(STAGE, factor=2), dict(STAGE, factor=2)], 'such as 8, 4, 1; got'),
        ([dict(STAGE, factor=3), dict(STAGE, factor=1)], 'such as 8, 4, 1; got'),
        ([dict(STAGE), dict(STAGE, factor=1)], r'got \[None, 1\]'),
        ([dict(STAGE, factor=2), dict(STAGE, factor=1, augmentation='crop')], "'noise' or 'blur', got 'crop'"),
        (
            [dict(STAGE, factor=2), dict(STAGE, factor=1, objective='flow', clip=False)],
            'trained as a diffusion process',
        ),
        ([dict(STAGE, factor=2, depth=3), dict(STAGE, factor=1)], 'stage 0: .*depth'),
    ],
)
def test_what_is_no_cascade(stages: list[dict[str, Any]], message: str):
    with pytest.raises(UserError, match=message):
        GENERATORS.build(dict(UNETS['CDM'], stages=stages))


@DIFFUSERS
@pytest.mark.parametrize(
    ('name', 'settings', 'message'),
    [
        ('ADM', dict(steps=21), 'expected 1 to 20 steps'),
        ('CDM', dict(steps=21), 'expected 1 to 20 steps'),
        ('LDM', dict(solver='euler'), "was trained as a diffusion process, got solver 'euler'"),
        ('CDM', dict(solver='heun'), "was trained as a diffusion process, got solver 'heun'"),
        ('CDM', dict(augmentation=1.0), 'augmentation'),
        ('LDM', dict(spacing='leading'), 'spacing'),
        ('LDM', dict(eta=1.0), "add solver 'ddim', or drop it"),
    ],
)
def test_what_cannot_be_drawn(name: str, settings: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        build(name).sample(torch.tensor([0]), **settings)


def test_a_flow_has_no_strides():
    with pytest.raises(UserError, match="was trained as a flow, whose steps are equal; use spacing 'even'"):
        build('flow').sample(torch.tensor([0]), steps=2, spacing='strided')


@DIFFUSERS
@pytest.mark.parametrize('name', UNETS)
def test_it_begins_with_no_opinion_and_learns_one_image(name: str):
    torch.manual_seed(0)
    model = GENERATORS.build({**UNETS[name], 'layout': {**LAYOUT, 'scale': 1.0, 'shift': 0.0}, 'cond_dropout': 0.0})
    x = torch.rand(1, 3, 4, 4).mul(2).sub(1)
    targets = Targets(latents=Latents(x.expand(16, -1, -1, -1), model.layout))
    labels = torch.zeros(16, dtype=torch.int64)
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=5e-3), []
    for _ in range(20):
        terms = model.loss(targets, labels)
        losses.append(sum(value.item() for key, value in terms.items() if key.startswith('mse')))
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
    start = 2.0 if name == 'CDM' else 1.0  # two stages
    assert losses[0] == pytest.approx(start, rel=0.2), 'the output is 0, so the loss is the variance of the noise'
    assert np.mean(losses[-5:]) < 0.7 * start


@pytest.mark.parametrize('solver', ['ddpm', 'ddim'])
def test_a_clipped_chain_takes_no_data_for_more_than_pixels(solver: str):
    process = GaussianProcess(learned_variance=False).respaced(10)
    x = torch.full((1, 1), 3.0)

    def chain(clip: bool) -> list[tuple[Tensor, Tensor]]:
        torch.manual_seed(0)
        return list(
            denoise(process, lambda y, t: -y, x, torch.randn_like(x).expand(11, 1, 1).__getitem__, solver, clip=clip)
        )

    assert max(data.abs().max() for _, data in chain(True)) <= 1
    assert max(data.abs().max() for _, data in chain(False)) > 1
    assert chain(True)[-1][0] == pytest.approx(1.0), 'the last step leads to what it takes the data to be'


@DIFFUSERS
def test_a_frozen_stage_costs_nothing_and_stays():
    task = MODELS.build(dict(type='GeneratorTask', generator=UNETS['CDM'], freeze=['stage_2'])).train()
    model = task.generator
    targets = Targets(latents=Latents(torch.rand(4, 3, 4, 4), model.layout))
    assert model.loss(targets, torch.arange(4)).keys() == {'mse_4', 'vb_4'}
    model.eval()
    assert model.loss(targets, torch.arange(4)).keys() == {'mse_2', 'vb_2', 'mse_4', 'vb_4'}


@DIFFUSERS
def test_a_stage_sees_the_image_before_and_how_far_it_was_noised():
    model = build('CDM').eval()
    stage = model.stages[1]
    small, noise, labels = torch.rand(2, 3, 2, 2), torch.randn(2, 3, 2, 2), torch.tensor([1, 2])
    x, t_B, level_B = torch.randn(2, 3, 4, 4), torch.tensor([4, 9]), torch.tensor([0, 19])
    noised, told = stage.noised(small, level_B, noise)
    signal_B = stage.process.signal_T[level_B].float().view(-1, 1, 1, 1)
    torch.testing.assert_close(noised, signal_B.sqrt() * small + (1 - signal_B).sqrt() * noise)
    assert torch.equal(told, level_B)
    outputs = [
        stage.network(x, t_B, labels, *given)
        for given in ((small, level_B), (small + 1, level_B), (small, level_B.flip(0)))
    ]
    assert not torch.allclose(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])
    drawn = [model.sample(labels, seeds=[1, 2], steps=2, augmentation=share).values for share in (0.0, 0.9)]
    assert not torch.allclose(*drawn)


@DIFFUSERS
def test_only_stages_that_clip_clip_the_image_before():
    for clip in (True, False):
        model = build('CDM', stages=[dict(STAGE, factor=2), dict(STAGE, factor=1, clip=clip)])
        x = torch.full((1, 3, 2, 2), 3.0)
        given, _ = model.doubted(model.stages[1], x, [1], 0.0)
        assert given.unique().tolist() == [1.0 if clip else 3.0]


def test_smaller_images_are_means_and_blurs_are_gaussian():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert smaller(x, 2, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    point = torch.zeros(2, 1, 5, 5)
    point[:, :, 2, 2] = 1.0
    std_B = torch.tensor([0.4, 0.6])
    for image, std in zip(blur(point, std_B), std_B.tolist(), strict=True):
        weights = [math.exp(-(offset**2) / (2 * std**2)) for offset in (-1, 0, 1)]
        kernel = torch.tensor(weights) / sum(weights)
        torch.testing.assert_close(image[0, 1:4, 1:4], kernel[:, None] * kernel)
    flat = torch.full((1, 3, 4, 4), 0.7)
    torch.testing.assert_close(blur(flat, std_B[:1]), flat)


def test_pixels_are_their_own_latents(tmp_path: Path):
    pixels, images = TOKENIZERS.build(dict(type='PixelAutoencoder')), random_images(2, 8, 12)
    latents = pixels.encode(images)
    assert latents.layout == LatentLayout(Grid(8, 12), 3)
    assert torch.equal(pixels.decode(latents), images)
    assert torch.equal(pixels.latents(images).values, images)
    pixels.save_pretrained(tmp_path / 'pixels')
    loaded = Autoencoder.from_pretrained(tmp_path / 'pixels')
    assert isinstance(loaded, PixelAutoencoder)
    assert (
        ImageGenerator(build('DiT', layout=PIXELS), pixels).tokenizer_hash
        == ImageGenerator(build('DiT', layout=PIXELS), loaded).tokenizer_hash
    )
    assert extract([str(tmp_path / 'pixels'), 'bundled', str(tmp_path / 'store'), '--size', '64']) == 2
    with pytest.raises(UserError, match='expected float images'):
        pixels.encode(images[:, :1])


def test_a_saved_generator_of_pixels_brings_its_autoencoder(tmp_path: Path):
    model = ImageGenerator(build('DiT', layout=PIXELS), TOKENIZERS.build(dict(type='PixelAutoencoder')))
    images = model.sample([0, 1], seeds=[1, 2], steps=2)
    model.save_pretrained(tmp_path / 'both')
    saved = Autoencoder.from_pretrained(tmp_path / 'both' / 'tokenizer')
    assert isinstance(saved, PixelAutoencoder)
    assert torch.equal(ImageGenerator.load(tmp_path / 'both').sample([0, 1], seeds=[1, 2], steps=2), images)


def test_latents_of_a_tokenizer_are_learned_unquantized_and_decoded_quantized():
    tokenizer, images = tiny_tokenizer().fold(), random_images(2, 8, 8)
    latents = tokenizer.latents(images)
    assert torch.equal(latents.values, tokenizer.encode_latent(images))
    assert latents.layout == tokenizer.latent_layout(8, 8)
    torch.testing.assert_close(tokenizer.decode(latents), tokenizer.decode(tokenizer.encode(images)))
    generator = build('DiT', layout=latents.layout.to_dict())
    batch = dict(images=((images + 1) * 127.5).round().to(torch.uint8))
    learned = generator.targets(batch, tokenizer).latents
    assert learned is not None
    torch.testing.assert_close(learned.values, latents.values, rtol=0, atol=0.1)
    drawn = ImageGenerator(generator, tokenizer).sample([0, 1], seeds=[1, 2], steps=2)
    values = generator.sample(torch.tensor([0, 1]), seeds=[1, 2], steps=2)
    torch.testing.assert_close(drawn, tokenizer.decode(values).clamp(-1, 1))


def test_a_store_of_unquantized_latents_is_for_latents_only(tmp_path: Path):
    tokenizer = tiny_tokenizer().fold()
    tokenizer.save_pretrained(tmp_path / 'tokenizer')
    options = ['--size', '16', '--crops', 'center', '--device', 'cpu', '--workers', '0']
    for name, more in (('codes', []), ('latents', ['--unquantized'])):
        assert extract([str(tmp_path / 'tokenizer'), 'bundled', str(tmp_path / name), *options, *more]) == 0
    codes, latents = (CodesStore(tmp_path / name) for name in ('codes', 'latents'))
    assert latents.layout == tokenizer.latent_layout(16, 16)
    assert latents.tokenizer_hash == codes.tokenizer_hash
    z = latents.latents(0, 0)
    assert torch.equal(tokenizer.quantizer(z[None]).codes.indices_BL[0], codes.codes(0, 0).long())
    datasets = {
        name: DATASETS.build(dict(type='CodesDataset', root=str(tmp_path / name))) for name in ('codes', 'latents')
    }
    dit = dict(type='DiT', layout=latents.layout.to_dict(), dim=16, depth=1, heads=2)
    llamagen = dict(type='LlamaGen', layout=codes.layout.to_dict(), dim=32, depth=1, heads=4, num_classes=10)
    tasks = {
        name: MODELS.build(dict(type='GeneratorTask', generator=each)) for name, each in (('d', dit), ('l', llamagen))
    }
    tasks['d'].check_dataset(datasets['latents'])
    tasks['l'].check_dataset(datasets['codes'])
    with pytest.raises(UserError, match=r'DiT learns latents, the training data are .*--unquantized'):
        tasks['d'].check_dataset(datasets['codes'])
    with pytest.raises(UserError, match=r'LlamaGen learns codes, the training data are LatentLayout'):
        tasks['l'].check_dataset(datasets['latents'])
    other = tiny_tokenizer().fold()
    with pytest.raises(UserError, match='its codes mean other pixels'):
        ImageGenerator(tasks['d'].generator, other, expected_hash=latents.tokenizer_hash)
