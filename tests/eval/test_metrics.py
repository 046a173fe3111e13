"""Metrics equal scikit-image and closed forms, however the evaluation set is split into batches."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from fvq_core.autoencoder import AutoencoderOutput
from fvq_core.codes import CodeLayout, Codes, Grid
from fvq_core.metric import Metric
from fvq_core.ops.codebook_statistics import perplexity
from fvq_core.quantizer import QuantizerOutput
from fvq_core.registry import METRICS
from fvq_eval.hooks import PerImageHook
from fvq_eval.metrics import code_bits
from fvq_eval.metrics.psnr import psnr
from fvq_eval.metrics.ssim import ssim

from ..tiny import FVQ, random_images, tiny_tokenizer

NAMES = ('CodebookUsage', 'PSNR', 'SSIM', 'QuantizationError')


def noisy_pair(batch: int = 3, side: int = 24) -> tuple[Tensor, Tensor]:
    """uint8 images and the same with noise, each image with more."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, side, side), generator=rng)
    noise = torch.randn(images.shape, generator=rng) * torch.tensor([3.0, 20.0, 60.0]).view(-1, 1, 1, 1)
    return images.to(torch.uint8), (images + noise).round().clamp(0, 255).to(torch.uint8)


def stand_in(codebook_KD: Tensor) -> Any:
    """As much of a tokenizer as metrics read."""
    quantizer = SimpleNamespace(
        codebook=lambda: codebook_KD,
        code_dim=codebook_KD.shape[1],
        codebook_indices=lambda codes: codes.indices_BL,
        vocabularies=(len(codebook_KD),),
    )
    return SimpleNamespace(
        quantizer=quantizer,
        require_quantizer=lambda owner: quantizer,
        latent_channels=codebook_KD.shape[1],
        parameters=lambda: iter([codebook_KD]),
    )


def output(
    indices_BL: Tensor, K: int, z_BDHW: Tensor | None = None, z_q_BDHW: Tensor | None = None
) -> AutoencoderOutput:
    B, L = indices_BL.shape
    empty = torch.zeros(B, 2, 1, L)
    z_BDHW = empty if z_BDHW is None else z_BDHW
    codes = Codes(indices_BL, CodeLayout(Grid(1, L), K))
    quantized = QuantizerOutput(empty if z_q_BDHW is None else z_q_BDHW, codes, z_BDHW)
    return AutoencoderOutput(torch.zeros(B, 3, 2, 2), quantized=quantized)


def evaluate(metric: Metric, tokenizer: Any, batches: list[tuple[Tensor, AutoencoderOutput]]) -> dict[str, float]:
    metric.reset(tokenizer)
    for images, out in batches:
        metric.update(images, out, tokenizer)
    metric.reduce()
    return {name: value.value for name, value in metric.compute().items()}


def test_psnr_equals_scikit_image():
    images, noisy = noisy_pair()
    for got, a, b in zip(psnr(images, noisy), images.numpy(), noisy.numpy(), strict=True):
        assert got.item() == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255), rel=1e-9)


def test_psnr_of_black_against_white_is_zero_and_of_a_copy_is_capped():
    black, white = torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.full((1, 3, 4, 4), 255, dtype=torch.uint8)
    assert psnr(black, white).item() == pytest.approx(0.0, abs=1e-9)
    assert psnr(white, white).item() == pytest.approx(100.0)


def test_ssim_equals_scikit_image_channel_by_channel():
    images, noisy = noisy_pair()
    options = dict(data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    for got, a, b in zip(ssim(images, noisy), images.numpy(), noisy.numpy(), strict=True):
        channels = [structural_similarity(a[c], b[c], **options) for c in range(3)]
        assert got.item() == pytest.approx(np.mean(channels), rel=1e-6)
    assert ssim(images, images).tolist() == pytest.approx([1.0] * 3)


def test_psnr_metric_is_the_mean_of_each_images_own_over_pixels_rounded_to_8_bits():
    images, noisy = noisy_pair()
    as_float = [x / 127.5 - 1 + 0.3 / 127.5 for x in (images.double(), noisy.double())]
    out = output(torch.zeros(3, 1, dtype=torch.int64), 4)
    out.reconstruction = as_float[1].float()
    got = evaluate(METRICS.build(dict(type='PSNR')), stand_in(torch.zeros(4, 2)), [(as_float[0].float(), out)])
    each = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(images.numpy(), noisy.numpy(), strict=True)]
    assert got == {'psnr': pytest.approx(np.mean(each), rel=1e-9)}


def test_reconstruction_beyond_the_range_is_clamped_before_it_is_scored():
    images = torch.ones(1, 3, 8, 8)
    out = output(torch.zeros(1, 1, dtype=torch.int64), 4)
    out.reconstruction = images * 7
    assert evaluate(METRICS.build(dict(type='PSNR')), stand_in(torch.zeros(4, 2)), [(images, out)])['psnr'] == 100.0


def test_usage_perplexity_and_dead_codes_equal_their_closed_form():
    K, images = 10, torch.zeros(2, 3, 2, 2)
    batches = [torch.tensor([[0, 0, 1, 1], [2, 2, 3, 3]]), torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1]])]
    metric = METRICS.build(dict(type='CodebookUsage'))
    got = evaluate(metric, stand_in(torch.zeros(K, 2)), [(images, output(indices, K)) for indices in batches])
    p = np.array([9, 3, 2, 2]) / 16
    perplexity = math.exp(-(p * np.log(p)).sum())
    expected = {'usage': 40.0, 'usage_1pct': 40.0, 'perplexity': perplexity, 'dead_codes': 6}
    assert got == pytest.approx({**expected, 'relative_perplexity': perplexity / K})
    value = metric.compute()['usage']
    assert (value.samples, value.tokens, value.unit) == (4, 16, '%')


def test_the_second_threshold_is_one_percent_of_even_use():
    K = 4  # of 1,600 codes even use gives each 400, of which 1 % are 4
    indices = torch.repeat_interleave(torch.arange(4), torch.tensor([1592, 4, 3, 1])).view(2, 800)
    metric = METRICS.build(dict(type='CodebookUsage'))
    got = evaluate(metric, stand_in(torch.zeros(K, 2)), [(torch.zeros(2, 3, 2, 2), output(indices, K))])
    assert (got['usage'], got['usage_1pct']) == (100.0, 50.0)


def test_bits_equal_their_closed_form():
    K, images = 8, torch.zeros(4, 3, 6, 4)
    indices = torch.tensor(
        [[0, 4], [1, 4], [2, 4], [3, 4]]
    )  # one of four at the first position, always 4 at the second
    metric = METRICS.build(dict(type='CodeBits'))
    got = evaluate(metric, stand_in(torch.zeros(K, 2)), [(images, output(indices, K))] * 20)
    entropy = 4 * (1 / 8) * 3 + (1 / 2) * 1  # of 0 to 3 at an eighth each and 4 at a half
    assert got == pytest.approx(
        {
            'bits_per_image': 6,
            'bits_per_pixel': 6 / 24,
            'effective_bits_per_image': 2 * entropy,
            'effective_bits_by_position': 2.0,
        }
    )
    value = metric.compute()['effective_bits_by_position']
    assert (value.samples, value.tokens, value.unit, value.too_few) == (80, 160, 'bits', None)


def test_slots_have_their_own_vocabularies_and_bits(monkeypatch: pytest.MonkeyPatch):
    tokenizer = stand_in(torch.zeros(4, 2))
    tokenizer.quantizer.vocabularies = (4, 2)
    indices = torch.tensor([[0, 0, 1, 1], [2, 0, 3, 1]])  # two positions, each with a slot of four and one of two
    batches = [(torch.zeros(2, 3, 2, 4), output(indices, 4))]
    whole = evaluate(METRICS.build(dict(type='CodeBits')), tokenizer, batches)
    assert whole['bits_per_image'] == 2 * (2 + 1)
    assert whole['effective_bits_per_image'] == pytest.approx(2 * (2 + 1))
    assert whole['effective_bits_by_position'] == pytest.approx(1 + 0 + 1 + 0)
    monkeypatch.setattr(code_bits, 'MAX_COUNTS', 8)  # one row a slot: the same without the value by position
    by_slot = evaluate(METRICS.build(dict(type='CodeBits')), tokenizer, batches)
    assert by_slot == pytest.approx({key: whole[key] for key in whole if key != 'effective_bits_by_position'})


def test_entropies_of_few_images_are_marked():
    metric = METRICS.build(dict(type='CodeBits'))
    evaluate(metric, stand_in(torch.zeros(4, 2)), [(torch.zeros(1, 3, 2, 2), output(torch.tensor([[0] * 40]), 4))])
    values = metric.compute()
    assert values['effective_bits_per_image'].too_few is None
    assert values['effective_bits_by_position'].too_few == '1 codes of up to 4 values show an entropy that is too small'


def test_scores_of_single_images_come_in_order_and_average_to_the_value():
    images, noisy = noisy_pair()
    out = output(torch.zeros(3, 1, dtype=torch.int64), 4)
    metric = METRICS.build(dict(type='PSNR'))
    parts = []
    for image, copy in zip(images, noisy, strict=True):
        part = output(torch.zeros(1, 1, dtype=torch.int64), 4)
        part.reconstruction = copy[None] / 127.5 - 1
        parts.append((image[None] / 127.5 - 1, part))
    value = evaluate(metric, stand_in(torch.zeros(4, 2)), parts)['psnr']
    assert metric.per_image().tolist() == pytest.approx(psnr(images, noisy).tolist())
    assert metric.per_image().mean().item() == pytest.approx(value)
    evaluate(
        metric, stand_in(torch.zeros(4, 2)), [(images / 127.5 - 1, replace(out, reconstruction=noisy / 127.5 - 1))]
    )
    assert len(metric.per_image()) == 3  # it starts over
    metric.reset(stand_in(torch.zeros(4, 2)))
    assert metric.per_image().shape == (0,)  # a rank without images


def test_a_rank_without_images_adds_nothing_to_the_scores_of_single_images(tmp_path: Path):
    metric = METRICS.build(dict(type='PSNR'))
    metric.reset(stand_in(torch.zeros(4, 2)))
    runner, hook = SimpleNamespace(work_dir=tmp_path, val_loop=SimpleNamespace(metrics=[metric])), PerImageHook()
    hook.before_val_epoch(runner)
    hook.after_val_epoch(runner)
    with np.load(tmp_path / 'per_image.npz') as found:
        assert {key: (found[key].shape, str(found[key].dtype)) for key in found} == {
            'psnr': ((0,), 'float64'),
            'labels': ((0,), 'int64'),
        }


def test_projector_cost_is_that_of_its_linear_maps_and_leaves_the_projector_alone():
    K, D, depth = 16, 8, 3
    layer = K * D * D
    for projector, macs, parameters in (
        (dict(type='LinearProjector'), layer, D * D + D),
        (dict(type='MLPProjector', depth=depth), depth * layer, depth * (D * D + D)),
        (None, 0, 0),
    ):
        quantizer = dict(type='VectorQuantizer', codebook_size=K, code_dim=D, projector=projector)
        tokenizer = tiny_tokenizer(dict(type='ResidualQuantizer', quantizer=quantizer, depth=2))
        got = evaluate(METRICS.build(dict(type='ProjectorCost')), tokenizer.train(), [])
        assert got == {'projector_macs': macs, 'projector_parameters': parameters}
        assert tokenizer.quantizer.quantizer.projector.training


def test_without_the_published_network_the_distance_is_not_called_lpips(tmp_path):
    from fvq_core.losses.perceptual.lpips import LPIPS

    network = LPIPS('squeeze', random=True)
    state = {f'features.{key.split(".", 1)[1]}': value for key, value in network.net.state_dict().items()}
    torch.save(state, tmp_path / 'other.pth')
    metric = METRICS.build(dict(type='PerceptualDistance', net='squeeze', weights=str(tmp_path / 'other.pth')))
    images = random_images(2, 32, 32)
    out = output(torch.zeros(2, 1, dtype=torch.int64), 4)
    noisy = (images + 0.2 * torch.randn(images.shape)).clamp(-1, 1)
    values = [
        evaluate(metric, stand_in(torch.zeros(4, 2)), [(images, replace(out, reconstruction=copy))])
        for copy in (images, noisy)
    ]
    assert values[0] == {'feature_distance': 0.0}
    x, y = (network.features(t.add(1).mul(127.5).round() / 127.5 - 1) for t in (images, noisy))
    each = [(unit(a) - unit(b)).square().sum(1).mean((1, 2)) for a, b in zip(x, y, strict=True)]
    assert values[1] == {'feature_distance': pytest.approx(torch.stack(each).sum(0).mean().item(), rel=1e-4)}
    assert 'not LPIPS' in metric.compute()['feature_distance'].protocol


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True).clamp_min(1e-10)


def test_perplexity_is_the_number_of_codes_used_alike_and_one_for_a_single_code():
    assert perplexity(torch.tensor([5, 5, 0, 5, 0, 5])) == pytest.approx(4.0)
    assert perplexity(torch.tensor([0, 7, 0])) == pytest.approx(1.0)
    assert perplexity(torch.full((262_144,), 3)) == pytest.approx(262_144, rel=1e-9)


def test_quantization_error_equals_its_closed_form():
    z, z_q = 3 + 2 * torch.randn(4, 2, 1, 5), torch.randn(4, 2, 1, 5)
    images, indices = torch.zeros(4, 3, 2, 2), torch.zeros(4, 5, dtype=torch.int64)
    metric = METRICS.build(dict(type='QuantizationError'))
    got = evaluate(metric, stand_in(torch.zeros(4, 2)), [(images, output(indices, 4, z, z_q))])
    error = (z.double() - z_q.double()).square().sum(1).mean().item()
    variance = z.double().movedim(1, -1).reshape(-1, 2).var(0, correction=0).sum().item()
    assert got == pytest.approx(
        {'quantization_error': error, 'relative_quantization_error': error / variance}, rel=1e-9
    )
    assert metric.compute()['quantization_error'].tokens == 20


def test_relative_error_is_zero_for_a_perfect_codebook_and_one_for_the_mean_and_ignores_scale():
    z = 5 + torch.randn(4, 2, 1, 5)
    images, indices, tokenizer = (
        torch.zeros(4, 3, 2, 2),
        torch.zeros(4, 5, dtype=torch.int64),
        stand_in(torch.zeros(4, 2)),
    )
    mean = z.mean((0, 2, 3), keepdim=True).expand_as(z)

    def relative(z: Tensor, z_q: Tensor) -> float:
        metric = METRICS.build(dict(type='QuantizationError'))
        return evaluate(metric, tokenizer, [(images, output(indices, 4, z, z_q))])['relative_quantization_error']

    assert relative(z, z) == 0.0
    assert relative(z, mean) == pytest.approx(1.0, rel=1e-6)
    assert relative(100 * z, 80 * z) == pytest.approx(relative(z, 0.8 * z), rel=1e-5)


@pytest.mark.parametrize('name', NAMES)
@torch.no_grad()
def test_splitting_the_set_into_batches_changes_nothing_and_reset_starts_over(name: str):
    tokenizer, images = tiny_tokenizer(FVQ), random_images(6, 16, 16)
    metric = METRICS.build(dict(type=name))
    whole = evaluate(metric, tokenizer, [(images, tokenizer(images))])
    for split in ((1, 5), (2, 2, 2), (6,)):
        parts = images.split(split)
        assert evaluate(metric, tokenizer, [(part, tokenizer(part)) for part in parts]) == pytest.approx(
            whole, rel=1e-5
        )
    assert {value.samples for value in metric.compute().values()} == {6}


@pytest.mark.parametrize('name', NAMES)
def test_every_number_carries_its_protocol_and_statistics_are_64_bit(name: str):
    tokenizer, images = tiny_tokenizer(FVQ), random_images(2, 16, 16)
    metric = METRICS.build(dict(type=name))
    with torch.no_grad():
        evaluate(metric, tokenizer, [(images, tokenizer(images))])
    assert all(value.preset == 'strict' for value in metric.compute().values())
    assert {tensor.dtype for tensor in metric.statistics()} <= {torch.float64, torch.int64}
    before = metric.compute()
    for tensor in metric.statistics():  # what a sum over two equal ranks does; it must reach the result
        tensor.mul_(2)
    for key, value in metric.compute().items():
        assert value.samples == 2 * before[key].samples
        assert value.value == pytest.approx(before[key].value, rel=1e-9)
