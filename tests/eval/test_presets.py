"""Presets do what the released scripts do, print all of it, and are what the documentation describes."""

from __future__ import annotations

import io
import random
from dataclasses import FrozenInstanceError, fields, replace
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms as tv
from PIL import Image
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from fvq_core.errors import UserError
from fvq_core.images import from_uint8
from fvq_core.registry import METRICS, TRANSFORMS
from fvq_eval.features.inception import InceptionV3
from fvq_eval.features.random_features import RandomFeatures
from fvq_eval.metrics.conventions import LPIPSConventions
from fvq_eval.presets import PRESETS, Crop, Preset, find_preset
from fvq_eval.presets.feature_input import FriendlyInput, half_pixel, prepared
from fvq_eval.presets.jpeg_codec import jpeg
from fvq_eval.presets.table import tables
from tests.pictures import gradient, picture, same_pixels

SIZES = [(300, 200), (201, 333), (64, 64), (65, 67), (640, 96), (127, 128)]


def crop(type_: str, image: Image.Image, size: int = 64) -> Image.Image:
    return TRANSFORMS.build(dict(type=type_, size=size))(image, random.Random(0))


# --- crops ---


@pytest.mark.parametrize('size', [*SIZES, (40, 100), (100, 41), (33, 20)])
def test_the_plain_center_crop_is_torchvisions_also_of_small_images(size: tuple[int, int]) -> None:
    assert same_pixels(crop('CenterCrop', picture(*size)), tv.CenterCrop(64)(picture(*size)))


@pytest.mark.parametrize('size', [*SIZES, (40, 100), (33, 20)])
def test_the_bilinear_crop_is_torchvisions_resize_and_center_crop(size: tuple[int, int]) -> None:
    expected = tv.Compose([tv.Resize(64), tv.CenterCrop(64)])(picture(*size))
    assert same_pixels(crop('BilinearCenterCrop', picture(*size)), expected)


@pytest.mark.parametrize('size', [*SIZES, (33, 20)])
def test_the_opencv_crop_takes_four_pixels_for_each_of_its_own(size: tuple[int, int]) -> None:
    image, short = picture(*size), min(size)
    height, width = round(size[1] * 64 / short), round(size[0] * 64 / short)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    exact = F.interpolate(pixels, (height, width), mode='bilinear', align_corners=False)[0].permute(1, 2, 0).numpy()
    top, left = (height - 64) // 2, (width - 64) // 2
    got = np.asarray(crop('OpenCVCenterCrop', image)).astype(np.float64)
    assert np.abs(got - exact[top : top + 64, left : left + 64]).max() <= 1.0  # OpenCV's coefficients have 11 bits
    reference = cv2.resize(np.asarray(image), (width, height), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(got, reference[top : top + 64, left : left + 64])


@pytest.mark.parametrize('size', [*SIZES, (33, 20)])
def test_the_lanczos_crop_is_torchvisions_square_and_resize(size: tuple[int, int]) -> None:
    image = picture(*size)
    square = tv.functional.center_crop(image, [min(size)])  # StudioGAN's CenterCropLongEdge
    expected = tv.Resize(64, tv.InterpolationMode.LANCZOS)(square)
    assert same_pixels(crop('LanczosCenterCrop', image), expected)


def test_kernels_differ_where_they_shrink() -> None:
    image = picture(512, 512)
    crops = {name: np.asarray(crop(name, image)).astype(float) for name in ('BilinearCenterCrop', 'OpenCVCenterCrop')}
    assert crops['OpenCVCenterCrop'].std() > 2 * crops['BilinearCenterCrop'].std()  # noise is not averaged away
    assert same_pixels(crop('CenterCrop', gradient(200, 100), 50), gradient(200, 100).crop((75, 25, 125, 75)))


def test_crops_of_no_pixel_are_refused() -> None:
    with pytest.raises(UserError, match='size must be 1 or more'):
        TRANSFORMS.build(dict(type='CenterCrop', size=0))


# --- codec and network input ---


def test_the_codec_is_what_pil_makes_of_a_file() -> None:
    images = [gradient(48, 32), picture(48, 32)]
    pixels = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])
    for got, image in zip(jpeg(pixels), images, strict=True):
        file = io.BytesIO()
        image.save(file, 'JPEG')
        assert same_pixels(Image.fromarray(got.permute(1, 2, 0).numpy()), Image.open(file).convert('RGB'))
    assert not torch.equal(jpeg(pixels), pixels)


def test_half_pixel_input_is_pytorch_fids_after_the_scaling_of_the_2015_graph() -> None:
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    peers = 2 * F.interpolate(pixels / 255, (299, 299), mode='bilinear', align_corners=False) - 1
    seen = half_pixel(pixels)
    torch.testing.assert_close((seen - 128) / 128, peers, rtol=0, atol=1e-6)
    again = interpolate_bilinear_2d_like_tensorflow1x(seen, size=(299, 299), align_corners=False)
    assert torch.equal(again, seen)  # the 2015 graph's own resize leaves it alone


@pytest.mark.parametrize('side', [64, 299, 400])
def test_friendly_input_is_pils_bilinear_filter_of_each_channel_in_floats(side: int) -> None:
    pixels = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8)
    channels = [Image.fromarray(channel.numpy().astype(np.float32)) for channel in pixels[0]]
    resized = np.stack([np.asarray(channel.resize((299, 299), Image.Resampling.BILINEAR)) for channel in channels])
    seen = half_pixel(pixels, antialias=True)
    torch.testing.assert_close(
        (seen[0] - 128) / 128, torch.from_numpy(2 * resized / 255 - 1).float(), rtol=0, atol=1e-4
    )
    assert (side > 299) == ((seen - half_pixel(pixels)).abs().max() > 1)  # below 299 pixels nothing is averaged away
    built = prepared(InceptionV3(random=True), 'friendly')
    assert isinstance(built, FriendlyInput)
    assert 'antialiasing' in built.preprocessing


def test_only_inception_is_given_another_input() -> None:
    other, inception = RandomFeatures(), InceptionV3(random=True)
    assert prepared(other, 'half-pixel') is other
    assert prepared(inception, 'tf1') is inception
    halved = prepared(inception, 'half-pixel')
    assert halved.fingerprint != inception.fingerprint  # statistics of the two are never mixed
    pixels = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    expected = inception.extract(half_pixel(pixels))
    for key, value in halved(pixels).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-5)


# --- presets ---


def test_a_preset_that_is_not_there_names_the_nearest() -> None:
    assert set(PRESETS) == {'adm', 'llamagen', 'fvq-release', 'ibq', 'rqvae', 'strict', 'studiogan'}
    assert find_preset('ibq') is PRESETS['ibq']
    with pytest.raises(UserError, match="there is no preset 'lamagen'; did you mean 'llamagen'"):
        find_preset('lamagen')


def test_a_preset_that_a_plug_in_adds_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = replace(PRESETS['strict'], name='mine')
    module = import_module('fvq_eval.presets.find_preset')
    monkeypatch.setattr(module, 'PRESETS', dict(PRESETS))
    monkeypatch.setattr(module, 'load_plugins', lambda: module.PRESETS.update(mine=mine))
    assert find_preset('mine') is mine


@pytest.mark.parametrize('name', PRESETS)
def test_a_preset_is_frozen_and_prints_every_field(name: str) -> None:
    preset = PRESETS[name]
    with pytest.raises(FrozenInstanceError):
        preset.name = 'mine'  # type: ignore[misc]
    for field in fields(Preset):
        assert field.name == 'name' or f'  {field.name}: ' in str(preset)
    assert str(preset).startswith(f'preset {name}\n')
    assert preset.protocol().startswith(f'{preset.crop}; ')


def test_two_presets_differ_in_what_they_print() -> None:
    assert len({str(preset) for preset in PRESETS.values()}) == len(PRESETS)
    protocols = {(preset.protocol(), preset.reference_words) for preset in PRESETS.values()}
    assert len(protocols) == len(PRESETS)


def test_a_preset_prints_only_conventions_of_its_own_scores() -> None:
    assert '\n  features: fid\n' in str(PRESETS['ibq'])
    for name, preset in PRESETS.items():
        assert ('kid_subsets' in str(preset)) == (name == 'strict')
        assert ('is_dtype' in str(preset)) == ('inception_score' in preset.features.metrics)


@pytest.mark.parametrize('name', PRESETS)
def test_every_metric_of_a_preset_carries_its_name(name: str) -> None:
    for config in PRESETS[name].metric_configs():
        if config['type'] != 'PerceptualDistance':  # needs trained weights
            assert METRICS.build(config).preset == name


def test_pixels_follow_rounding_and_codec() -> None:
    x = torch.rand(2, 3, 16, 16) * 2.2 - 1.1
    levels = (x.double().clamp(-1, 1) + 1) * 127.5
    assert torch.equal(PRESETS['strict'].pixels(x), levels.round().to(torch.uint8))
    assert torch.equal(PRESETS['llamagen'].pixels(x), (levels + 0.5).clamp(0, 255).floor().to(torch.uint8))
    assert torch.equal(PRESETS['fvq-release'].pixels(x), jpeg(levels.round().to(torch.uint8)))
    for name in ('ibq', 'rqvae'):
        torch.testing.assert_close(PRESETS[name].pixels(x), levels.float(), rtol=0, atol=1e-4)


def test_originals_reach_the_network_as_they_are_but_for_the_codec() -> None:
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    for name, preset in PRESETS.items():
        expected = jpeg(pixels) if name == 'fvq-release' else pixels
        assert torch.equal(preset.pixels(from_uint8(pixels), original=True), expected)


def test_pixels_that_are_bytes_already_are_refused() -> None:
    with pytest.raises(UserError, match='these are pixels already'):
        PRESETS['strict'].pixels(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_presets_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match='a codec stores 8 bits'):
        replace(PRESETS['fvq-release'], rounding='float')
    with pytest.raises(UserError, match='samples must be 1 or more'):
        PRESETS['strict'].at(samples=0)


def test_another_size_or_data_set_is_said() -> None:
    small = PRESETS['llamagen'].at(size=64, samples=5000)
    assert small.crop == Crop('ADMCenterCrop', 64, upsample=True)
    assert small.protocol().startswith('whole set declared as 5,000 images; ADMCenterCrop to 64x64')
    assert 'samples_from: user' in str(small)
    assert PRESETS['llamagen'].at() == PRESETS['llamagen'].at(samples=50_000) == PRESETS['llamagen']
    assert 'declared' not in PRESETS['llamagen'].protocol()


def test_lpips_of_each_preset_is_in_the_right_range() -> None:
    for preset in PRESETS.values():
        assert all((c.low, c.high) == (-1, 1) for c in preset.lpips)
    assert 'instead of [-1, 1]' in str(LPIPSConventions(low=0.0))


def test_the_documentations_tables_are_those_of_the_objects() -> None:
    page = (Path(__file__).parents[2] / 'docs' / 'evaluation.md').read_text()
    assert tables() in page
