"""PSNR, SSIM, MS-SSIM and LPIPS equal their references under every convention that a protocol needs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import lpips
import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from fvq_core.autoencoder import AutoencoderOutput
from fvq_core.errors import NonFiniteError, UserError
from fvq_core.images import from_uint8
from fvq_core.losses.perceptual.lpips import LPIPS
from fvq_core.registry import METRICS
from fvq_eval.features.each_image import one_thread
from fvq_eval.metrics.conventions import PSNRConventions, SSIMConventions
from fvq_eval.metrics.ms_ssim import SMALLEST, WEIGHTS, ms_ssim
from fvq_eval.metrics.psnr import psnr
from fvq_eval.metrics.rounding import Rounding, original_pixels, to_pixels, truncated_levels
from fvq_eval.metrics.ssim import ssim

from ..tiny import tiny_tokenizer


def pair(batch: int = 3, height: int = 40, width: int = 37) -> tuple[Tensor, Tensor]:
    """Smooth uint8 images and the same with noise, each with more."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / rng.uniform(3, 9) + c) * np.cos(y / rng.uniform(3, 9)) for c in range(batch * 3)]
    images = (127.5 + 100 * np.stack(waves)).reshape(batch, 3, height, width)
    noise = rng.normal(size=images.shape) * np.array([4.0, 15.0, 40.0])[:batch, None, None, None]
    return tuple(torch.from_numpy(z.round().clip(0, 255).astype(np.uint8)) for z in (images, images + noise))  # type: ignore[return-value]


# --- rounding ---


def test_each_rounding_equals_its_closed_form_and_clamps() -> None:
    levels = torch.tensor([-1.7, -1.0, 0.2 / 127.5 - 1, 0.5 / 127.5 - 1, 0.7 / 127.5 - 1, 1.4 / 127.5 - 1, 1.0, 3.0])
    expected = {
        'round': [0, 0, 0, 0, 1, 1, 255, 255],
        'half-up': [0, 0, 0, 1, 1, 1, 255, 255],
        'truncate': [0, 0, 0, 0, 0, 1, 255, 255],
    }
    for rounding, pixels in expected.items():
        assert to_pixels(levels, rounding).tolist() == pixels  # type: ignore[arg-type]
    floats = to_pixels(levels, 'float')
    assert floats.dtype == torch.float32
    torch.testing.assert_close(floats, torch.tensor([0, 0, 0.2, 0.5, 0.7, 1.4, 255, 255]), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize('rounding', ['round', 'half-up', 'truncate', 'float'])
def test_nan_and_pixels_up_to_255_are_no_pixels_of_any_rounding(rounding: Rounding) -> None:
    with pytest.raises(NonFiniteError, match='the images hold NaN, which no pixel can show'):
        to_pixels(torch.tensor([0.0, torch.nan]), rounding)
    with pytest.raises(UserError, match=r'expected images in \[-1, 1\], got values up to 255'):
        original_pixels(torch.tensor([0.0, 255.0]), rounding)


@pytest.mark.parametrize('name', ['PSNR', 'SSIM', 'RelativeError'])
def test_uint8_pixels_are_not_taken_for_images(name: str) -> None:
    tokenizer, pixels = tiny_tokenizer(), torch.zeros(1, 3, 12, 12, dtype=torch.uint8)
    metric, images = METRICS.build(dict(type=name)), from_uint8(pixels)
    metric.reset(tokenizer)
    for original, reconstruction in ((pixels, images), (images, pixels)):
        with pytest.raises(UserError, match=r'expected .*floats?.*, got torch.uint8'):
            metric.update(original, AutoencoderOutput(reconstruction), tokenizer)


def test_llamagens_formula_is_rounding_but_for_exact_halves() -> None:
    x = torch.rand(100_000) * 2.2 - 1.1
    assert torch.equal(to_pixels(x, 'half-up'), to_pixels(x, 'round'))
    truncated = to_pixels(x, 'truncate').float() - to_pixels(x, 'float')
    assert truncated[x.abs() < 1].mean().item() == pytest.approx(-0.5, abs=0.01)  # half a level darker


def test_originals_stay_as_they_are_except_where_rounding_errors_are_cut_off() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    for rounding in ('round', 'half-up', 'float'):
        assert torch.equal(original_pixels(from_uint8(levels), rounding), levels)  # type: ignore[arg-type]
    x = (np.arange(256) / 127.5 - 1.0).astype(np.float32)
    peers = ((torch.from_numpy(x) + 1) / 2 * 255.0).to(torch.uint8)
    assert torch.equal(truncated_levels(), peers)
    lost = levels.int() - original_pixels(from_uint8(levels), 'truncate').int()
    assert set(lost.tolist()) == {0, 1}


def test_pixels_are_not_made_twice() -> None:
    with pytest.raises(UserError, match=r'expected float images in \[-1, 1\], got torch.uint8'):
        to_pixels(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), 'round')
    with pytest.raises(UserError, match="did you mean 'truncate'"):
        to_pixels(torch.zeros(1), 'truncated')  # type: ignore[arg-type]


# --- PSNR ---


def test_psnr_on_luma_equals_scikit_image_on_its_luma() -> None:
    images, noisy = pair()
    got = psnr(images, noisy, PSNRConventions(color='luma'))
    for value, a, b in zip(got, images.numpy(), noisy.numpy(), strict=True):
        lumas = [rgb2ycbcr(np.moveaxis(z, 0, -1))[..., 0] for z in (a, b)]
        assert value.item() == pytest.approx(peak_signal_noise_ratio(*lumas, data_range=255), rel=1e-6)
    assert (got > psnr(images, noisy)).all()  # luma scores higher for the same pictures


def test_epsilon_is_added_to_the_error_of_pixels_in_0_to_1() -> None:
    images, noisy = pair()
    got = psnr(images, noisy, PSNRConventions(epsilon=1e-8))
    error = ((images.double() - noisy.double()) / 255).square().mean((1, 2, 3))
    torch.testing.assert_close(got, 10 * torch.log10(1 / (error + 1e-8)), rtol=1e-12, atol=0)
    assert psnr(images, images, PSNRConventions(epsilon=1e-8)).tolist() == pytest.approx([80.0] * 3)


# --- SSIM ---


@pytest.mark.parametrize('window', ['gaussian', 'uniform'])
@pytest.mark.parametrize('sample_covariance', [False, True])
@pytest.mark.parametrize('data_range', [1.0, 2.0])
def test_ssim_equals_scikit_image_in_every_convention(
    window: Literal['gaussian', 'uniform'], sample_covariance: bool, data_range: float
) -> None:
    images, noisy = pair()
    got = ssim(images, noisy, SSIMConventions(window, sample_covariance, data_range))
    options: dict[str, Any] = dict(gaussian_weights=True, sigma=1.5) if window == 'gaussian' else dict(win_size=7)
    for value, a, b in zip(got, images.numpy() / 255.0, noisy.numpy() / 255.0, strict=True):
        expected = structural_similarity(
            a, b, channel_axis=0, data_range=data_range, use_sample_covariance=sample_covariance, **options
        )
        assert value.item() == pytest.approx(float(expected), rel=1e-6)


def test_a_data_range_of_two_raises_the_score() -> None:
    images, noisy = pair()
    assert (ssim(images, noisy, SSIMConventions(data_range=2.0)) > ssim(images, noisy)).all()


def test_downsampling_averages_by_a_whole_factor_and_does_nothing_at_256_pixels() -> None:
    images, noisy = pair(1, 512, 520)
    means = [z.double().reshape(1, 3, 256, 2, 260, 2).mean((3, 5)) for z in (images, noisy)]
    thinned = SSIMConventions(downsample=True)
    assert ssim(images, noisy, thinned).item() == pytest.approx(ssim(*means).item(), rel=1e-12)
    assert torch.equal(ssim(*means, thinned), ssim(*means))


# --- MS-SSIM ---


def gaussian_valid(x: np.ndarray) -> np.ndarray:
    window = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    for axis in (0, 1):
        x = correlate1d(x, window / window.sum(), axis)
    return x[5:-5, 5:-5]


def plain_ms_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """One channel in [0, 255]: SciPy's filter for contrast and structure, scikit-image's SSIM for the coarsest scale."""
    value, c2 = 1.0, (0.03 * 255) ** 2
    for weight in WEIGHTS[:-1]:
        mx, my = gaussian_valid(x), gaussian_valid(y)
        vx, vy = gaussian_valid(x * x) - mx * mx, gaussian_valid(y * y) - my * my
        value *= np.mean((2 * (gaussian_valid(x * y) - mx * my) + c2) / (vx + vy + c2)) ** weight
        x, y = (np.pad(z, [(0, n % 2) for n in z.shape], mode='symmetric') for z in (x, y))
        x, y = ((z[::2, ::2] + z[1::2, ::2] + z[::2, 1::2] + z[1::2, 1::2]) / 4 for z in (x, y))
    options: dict[str, Any] = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)
    return value * float(structural_similarity(x, y, **options)) ** WEIGHTS[-1]


def test_ms_ssim_equals_a_plain_rendering_also_with_odd_sides() -> None:
    for height, width in ((176, 192), (SMALLEST, 171)):
        images, noisy = pair(3, height, width)
        got = ms_ssim(images, noisy)
        for value, a, b in zip(got, images.double().numpy(), noisy.double().numpy(), strict=True):
            assert value.item() == pytest.approx(np.mean([plain_ms_ssim(a[c], b[c]) for c in range(3)]), rel=1e-6)
        assert ms_ssim(images, images).tolist() == pytest.approx([1.0] * 3)


def test_ms_ssim_needs_161_pixels() -> None:
    small = torch.zeros(1, 3, 160, 200, dtype=torch.uint8)
    with pytest.raises(UserError, match='at least 161 pixels'):
        ms_ssim(small, small)


def test_ms_ssim_of_a_negative_is_zero_and_not_nan() -> None:
    images = pair(1, 176, 176)[0]
    assert ms_ssim(images, 255 - images).item() == 0.0


# --- LPIPS ---


@pytest.fixture(scope='module')
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of random weights with torchvision's keys."""
    folder, paths = tmp_path_factory.mktemp('weights'), {}
    for net in ('alex', 'vgg', 'squeeze'):
        network = LPIPS(net, random=True).net
        state = {f'features.{key.split(".", 1)[1]}': value for key, value in network.state_dict().items()}
        paths[net] = folder / f'{net}.pth'
        torch.save(state, paths[net])
    return paths


def package_network(net: str, path: Path) -> Any:
    """The lpips package's own, with these weights and even channel weights."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        package = lpips.LPIPS(pretrained=False, net=net, pnet_rand=True, verbose=False).eval()
    state = torch.load(path, weights_only=True)
    package.net.load_state_dict({key: state[f'features.{key.split(".", 1)[1]}'] for key in package.net.state_dict()})
    for lin in package.lins:
        torch.nn.init.ones_(lin.model[1].weight)
    return package


@pytest.mark.parametrize('net', ['alex', 'vgg', 'squeeze'])
@torch.no_grad()
def test_perceptual_distance_equals_the_lpips_package_in_every_range(net: str, networks: dict[str, Path]) -> None:
    images, noisy = pair(2, 40, 36)
    package = package_network(net, networks[net])
    for low, high in ((-1.0, 1.0), (0.0, 1.0), (-3.0, 1.0)):
        config = dict(type='PerceptualDistance', conventions=dict(net=net, low=low, high=high), name_net=True)
        metric = METRICS.build(dict(config, weights=str(networks[net])))
        x, y = ((high - low) * z.double() / 255 + low for z in (images, noisy))
        torch.testing.assert_close(metric.scaled(images).double(), x, rtol=0, atol=1e-6)
        torch.testing.assert_close(
            metric.score(images, noisy), package(y.float(), x.float()).flatten(), rtol=1e-4, atol=0
        )
        exact, expected = metric.network.double()(y, x), package.double()(y, x).flatten()
        package.float()
        torch.testing.assert_close(exact, expected, rtol=1e-6, atol=0)
        assert metric.key == f'feature_distance_{net}'  # random weights are not LPIPS


def test_the_number_of_threads_changes_no_bit_of_a_perceptual_distance(networks: dict[str, Path]) -> None:
    metric = METRICS.build(dict(type='PerceptualDistance', net='squeeze', weights=str(networks['squeeze'])))
    found = []
    for threads in (1, 2, 3):
        with one_thread():  # restores the number
            torch.set_num_threads(threads)
            found.append(metric.score(*pair(3, 96, 64)).tolist())
    assert found[1:] == [found[0]] * 2


def test_what_a_metric_assumes_is_in_its_protocol() -> None:
    cases = {
        'only Y of BT.601 (16 to 235), images rounded': dict(type='PSNR', conventions=dict(color='luma')),
        'RGB both images cut off to 8 bits': dict(type='SSIM', conventions=dict(rounding='truncate')),
        'five scales': dict(type='MSSSIM'),
    }
    for start, config in cases.items():
        assert METRICS.build(dict(config, preset='own')).protocol.startswith(start)
    assert 'data range 2' in METRICS.build(dict(type='SSIM', conventions=dict(data_range=2.0))).protocol


def test_unknown_conventions_are_refused() -> None:
    for config, message in (
        (dict(type='SSIM', conventions=dict(datarange=2.0)), "did you mean 'data_range'"),
        (dict(type='PSNR', conventions=dict(color='y')), "'rgb' or 'luma'"),
        (dict(type='PSNR', conventions=dict(rounding='rounded')), "did you mean 'round'"),
        (dict(type='PerceptualDistance', conventions=dict(net='alexnet')), "did you mean 'alex'"),
        (dict(type='PerceptualDistance', conventions=dict(low=1.0, high=1.0)), 'low must be below high'),
        (dict(type='SSIM', conventions=dict(data_range=0.0)), 'above 0'),
    ):
        with pytest.raises(UserError, match=message):
            METRICS.build(config)
