"""Multi-scale residual quantization: each scale quantizes what the coarser ones left over."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.codes import CodeLayout, Codes, Grid, Pyramid
from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS
from fvq_quantizers import MultiScaleQuantizer
from fvq_quantizers.phi import phi_of_scales

from .matrix import VECTOR, D, K, build, latents, vectors

SCALES = (1, (2, 3), (4, 6))


def multi_scale(train: bool = False, scales: Any = SCALES, axes: dict[str, Any] | None = None, **options: Any) -> Any:
    config = dict(type='MultiScaleQuantizer', quantizer={**VECTOR, **(axes or {})}, scales=scales, **options)
    return build(config, train)


def phi(quantizer: MultiScaleQuantizer, x: Tensor, scale: int, ratio: float = 0.5) -> Tensor:
    """phi by its formula, in float64."""
    layer = quantizer.phis[quantizer.phi_of_scale[scale]]
    return (1 - ratio) * x + ratio * F.conv2d(x, layer.weight.double(), layer.bias.double(), padding=1)


def by_hand(quantizer: MultiScaleQuantizer, z: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Codes (B, h, w) and running sums of each scale by VAR's algorithm 1, in float64."""
    rest, total, indices, sums = z.double(), torch.zeros_like(z.double()), [], []
    codebook = quantizer.codebook().detach().double()
    for scale, (h, w) in enumerate(quantizer.layout(Grid(*z.shape[-2:])).positions.scales):
        small = F.adaptive_avg_pool2d(rest, (h, w))
        nearest = torch.cdist(vectors(small), codebook).argmin(1).view(len(z), h, w)
        chosen = codebook[nearest].permute(0, 3, 1, 2)
        part = phi(quantizer, F.interpolate(chosen, z.shape[-2:], mode='bicubic'), scale)
        rest, total = rest - part, total + part
        indices.append(nearest)
        sums.append(total)
    return indices, sums


def split(codes: Codes) -> list[Tensor]:
    """(B, h, w) of each scale."""
    layout: Any = codes.layout.positions
    parts = codes.indices_BL.split(layout.lengths, 1)
    return [part.unflatten(1, side) for part, side in zip(parts, layout.scales, strict=True)]


@pytest.mark.parametrize('num_phi', [1, 2, None])
@torch.no_grad()
def test_each_scale_takes_the_codes_nearest_to_what_is_left_over(num_phi: int | None):
    quantizer, z = multi_scale(num_phi=num_phi), latents(3)
    output = quantizer(z)
    indices, sums = by_hand(quantizer, z)
    assert output.codes.layout == CodeLayout(Pyramid(((1, 1), (2, 3), (4, 6))), K)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(split(output.codes), indices, strict=True))
    torch.testing.assert_close(output.z_q_BDHW, sums[-1].float())
    for step, expected in enumerate(sums, 1):
        torch.testing.assert_close(quantizer.embed_prefix(output.codes, step), expected.float())


@torch.no_grad()
def test_one_scale_with_identity_phi_is_the_wrapped_quantizer():
    quantizer, z = multi_scale(scales=[(4, 6)], phi_ratio=0.0), latents()
    output, plain = quantizer(z), quantizer.quantizer(z)
    assert torch.equal(output.codes.indices_BL, plain.codes.indices_BL)
    assert torch.equal(output.z_q_BDHW, plain.z_q_BDHW)
    quantizer.train(), quantizer.quantizer.train()
    assert {k: v.item() for k, v in quantizer(z).losses.items()} == pytest.approx(
        {k: v.item() for k, v in quantizer.quantizer(z).losses.items()}
    )


@torch.no_grad()
def test_constant_latents_on_the_codebook_are_exact_after_the_first_scale():
    quantizer = multi_scale(phi_ratio=0.0)
    quantizer.quantizer.embedding[0] = 0.0
    z = quantizer.codebook()[[3, 5]][:, :, None, None].expand(2, D, 4, 6)
    output = quantizer(z)
    assert split(output.codes)[0].flatten().tolist() == [3, 5]
    assert all((indices == 0).all() for indices in split(output.codes)[1:])
    torch.testing.assert_close(output.z_q_BDHW, z)


def test_losses_are_means_over_scales_of_the_error_of_the_running_sums():
    quantizer, z = multi_scale(True, axes=dict(loss=dict(type='VQLoss', beta=0.3))), latents()
    losses = quantizer(z).losses
    _, sums = by_hand(quantizer, z)
    error = torch.stack([(z.double() - total).square().mean() for total in sums]).mean().item()
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(
        {'commitment': 0.3 * error, 'codebook': error}, rel=1e-5
    )


@pytest.mark.parametrize('kept', [[2, 1, 3, 3], [1, 1, 3, 3], [1, 2, 1, 1]])
def test_dropped_images_keep_their_first_scales_in_training(kept: list[int], monkeypatch: pytest.MonkeyPatch):
    share = 1.0 if min(kept[2:]) < 3 else 0.5
    quantizer, z = multi_scale(train=True, dropout=share), latents(4)
    codes = quantizer.eval()(z).codes
    _, sums = by_hand(quantizer, z)
    monkeypatch.setattr(torch, 'randint', lambda low, high, size: torch.tensor(kept))
    output = quantizer.train()(z)
    assert torch.equal(output.codes.indices_BL, codes.indices_BL)  # residuals go on
    expected = torch.stack([sums[n - 1][image] for image, n in enumerate(kept)])
    torch.testing.assert_close(output.z_q_BDHW.double(), expected, rtol=1e-5, atol=1e-5)
    errors = []
    for scale, total in enumerate(sums):
        has = [image for image, n in enumerate(kept) if n > scale]
        errors.append((total[has] - z[has].double()).square().mean() if has else torch.zeros(()))
    assert output.losses['codebook'].item() == pytest.approx(torch.stack(errors).sum().item() / 3, rel=1e-5)


def test_dropped_images_are_the_first_of_a_batch_and_keep_a_number_drawn_evenly():
    kept_B = multi_scale(dropout=0.5, fewest_scales=2).train().kept_scales(4000)
    assert (kept_B[2000:] == 3).all()
    assert kept_B[:2000].bincount().tolist() == pytest.approx([0, 0, 1000, 1000], abs=150)
    assert multi_scale(dropout=0.5).train().kept_scales(1).tolist() == [3]


def test_straight_through_hands_the_decoders_gradient_on_unchanged():
    quantizer, z = multi_scale(True), latents().requires_grad_()
    gradient = torch.randn(2, D, 4, 6)
    quantizer(z).z_q_BDHW.backward(gradient)
    assert torch.equal(z.grad, gradient)


def test_codebook_is_mapped_once_a_step_and_once_by_whatever_reads_it():
    quantizer = multi_scale(True, axes=dict(projector=dict(type='LinearProjector')))
    calls: list[int] = []
    quantizer.quantizer.projector.register_forward_hook(lambda *_: calls.append(1))
    for step in (1, 2):
        sum(quantizer(latents()).losses.values()).backward()
        assert len(calls) == step
    with torch.no_grad():
        codes = quantizer.eval()(latents()).codes
        for number, read in enumerate((quantizer.embed, quantizer.prefix_inputs), 4):
            read(codes)
            assert len(calls) == number


@torch.no_grad()
def test_every_helper_reads_the_mapped_codebook():
    quantizer = multi_scale(axes=dict(projector=dict(type='VQBridge', patch_size=4, output_scale=1.0)))
    folded, codes = quantizer.fold(), quantizer(latents()).codes
    for name in ('embed', 'prefix_inputs'):
        assert torch.equal(getattr(quantizer, name)(codes), getattr(folded, name)(codes))


@torch.no_grad()
def test_prefixes_are_running_sums_and_later_codes_do_not_matter():
    quantizer = multi_scale()
    codes = quantizer(latents()).codes
    for step in (1, 2, 3):
        known = sum(codes.layout.positions.lengths[:step])
        other = codes.indices_BL.clone()
        other[:, known:] = (other[:, known:] + 1) % K
        assert torch.equal(
            quantizer.embed_prefix(Codes(other, codes.layout), step), quantizer.embed_prefix(codes, step)
        )
    assert torch.equal(quantizer.embed(codes), quantizer.embed_prefix(codes, 3))
    with pytest.raises(UserError, match=r'step must lie in \[1, 3\], got 0'):
        quantizer.embed_prefix(codes, 0)


@torch.no_grad()
def test_advancing_scale_by_scale_gives_the_inputs_of_training_and_the_embedding():
    quantizer = multi_scale()
    codes = quantizer(latents()).codes
    total, inputs = torch.zeros(2, D, 4, 6), []
    for scale, indices in enumerate(split(codes)):
        total, following = quantizer.advance(total, quantizer.codebook()[indices].permute(0, 3, 1, 2), scale)
        inputs.append(following)
    assert torch.equal(total, quantizer.embed(codes))
    assert torch.equal(following, total)
    expected = torch.cat([x.flatten(2).mT for x in inputs[:-1]], 1)
    assert expected.shape == (2, codes.layout.length - 1, D)
    assert torch.equal(quantizer.prefix_inputs(codes), expected)


@torch.no_grad()
def test_latents_are_in_the_usual_memory_order():
    quantizer = multi_scale(scales=(1, 2, 4), num_phi=1).to(memory_format=torch.channels_last)
    output = quantizer(latents(2, 4, 4).to(memory_format=torch.channels_last))
    advanced = quantizer.advance(torch.zeros(2, D, 4, 4), latents(2, 1, 1), 0)
    for x in (output.z_q_BDHW, quantizer.embed(output.codes), quantizer.embed_prefix(output.codes, 1), *advanced):
        assert x.is_contiguous()


@torch.no_grad()
def test_a_single_scale_has_no_inputs_to_predict_from():
    quantizer = multi_scale(scales=[(4, 6)])
    assert quantizer.prefix_inputs(quantizer(latents()).codes).shape == (2, 0, D)


@pytest.mark.parametrize(
    ('height', 'width', 'expected'),
    [
        (4, 4, ((1, 1), (2, 2), (3, 3), (4, 4))),
        (8, 8, ((2, 2), (4, 4), (6, 6), (8, 8))),
        (4, 8, ((1, 2), (2, 4), (3, 6), (4, 8))),
        (3, 5, ((1, 1), (2, 3), (2, 4), (3, 5))),
        (1, 1, ((1, 1),) * 4),
    ],
)
def test_sides_scale_with_the_latent_and_end_at_its_size(height: int, width: int, expected: tuple):
    assert multi_scale(scales=(1, 2, 3, 4)).layout(Grid(height, width)).positions.scales == expected


def test_default_is_vars_pyramid_of_680_codes():
    quantizer = MultiScaleQuantizer(VECTOR)
    assert quantizer.layout(Grid(16, 16)).length == 680
    assert len(quantizer.phis) == 4
    assert quantizer.phi_of_scale == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ('scales', 'phis', 'expected'),
    [
        (10, 10, list(range(10))),
        (4, 4, [0, 1, 2, 3]),
        (10, 1, [0] * 10),
        (1, 4, [0]),
        (3, 2, [0, 0, 1]),
    ],
)
def test_scales_take_the_phi_of_the_nearest_tick(scales: int, phis: int, expected: list[int]):
    assert phi_of_scales(scales, phis) == expected


@pytest.mark.parametrize('ratio', [0.25, 1.0])
@torch.no_grad()
def test_ratio_blends_the_convolution_with_the_identity(ratio: float):
    quantizer, x = multi_scale(phi_ratio=ratio), latents()
    torch.testing.assert_close(quantizer.phis[0](x), phi(quantizer, x.double(), 0, ratio).float())


def test_phis_that_no_scale_uses_are_not_trained():
    quantizer = multi_scale(True, num_phi=4)
    sum(quantizer(latents()).losses.values()).backward()
    assert [p.weight.requires_grad for p in quantizer.phis] == [True, False, True, True]
    assert all(p.grad is not None for p in quantizer.parameters() if p.requires_grad)


@torch.no_grad()
def test_choice_by_cosine_does_not_depend_on_the_length_of_codes():
    quantizer, z = (
        multi_scale(axes=dict(normalize=dict(type='CosineSearch')), scales=[(4, 6)], phi_ratio=0.0),
        latents(),
    )
    codes = quantizer(z).codes
    expected = (F.normalize(vectors(z)) @ F.normalize(quantizer.codebook()).T).argmax(1)
    assert torch.equal(codes.indices_BL.flatten(), expected)
    assert torch.equal(vectors(quantizer.embed(codes)), quantizer.codebook()[expected])


def test_an_update_that_writes_codes_sees_all_scales_in_one_step():
    quantizer = multi_scale(True, axes=dict(update=dict(type='EMAUpdate', decay=0.5)))
    before, z = quantizer.codebook().detach().clone(), latents()
    codes = quantizer(z).codes
    counts = torch.bincount(codes.indices_BL.flatten(), minlength=K)
    torch.testing.assert_close(quantizer.quantizer.update.counts_K, 0.5 + 0.5 * counts)
    assert not torch.equal(quantizer.codebook(), before)


@torch.no_grad()
def test_usage_counts_the_codes_of_each_scale():
    quantizer = multi_scale()
    codes = quantizer(latents()).codes
    rows = quantizer.codebook_indices(codes).split(codes.layout.positions.lengths, 1)
    assert [r.shape[1] for r in rows] == [1, 6, 24]
    assert all(torch.equal(a, b.flatten(1)) for a, b in zip(rows, split(codes), strict=True))


def test_kmeans_start_sets_the_codebook_from_latents():
    quantizer = multi_scale(axes=dict(init=dict(type='KMeansInit', iterations=50)))
    assert quantizer.needs_init
    centres = torch.eye(D).repeat(2, 1) * torch.tensor([[10.0]] * D + [[-10.0]] * D)
    quantizer.initialize(centres.repeat(20, 1))
    torch.testing.assert_close(torch.cdist(centres, quantizer.codebook().detach()).min(1).values, torch.zeros(K))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(dropout=1.5), r'dropout must lie in \[0, 1\] and fewest_scales in \[1, 3\], got 1.5 and 1'),
        (dict(dropout=0.5, fewest_scales=4), 'got 0.5 and 4'),
        (dict(scales=()), 'scales must be positive whole numbers'),
        (dict(scales=4), 'scales must be positive whole numbers'),
        (dict(scales=(1.5, 2)), 'scales must be positive whole numbers'),
        (dict(scales=(0, 4)), 'scales must be positive whole numbers'),
        (dict(scales=(1, 8, 4)), 'none larger than the last'),
        (dict(scales=(1, (2, 3, 4), 4)), 'scales must be positive whole numbers'),
        (dict(num_phi=0), 'num_phi must be 1 or more'),
        (dict(phi_ratio=-0.5), 'phi_ratio 0 or more'),
        (dict(axes=dict(normalize=dict(type='L2Normalize'))), 'L2Normalize would put residuals'),
        (dict(axes=dict(estimator=dict(type='IndexBackpropagation'))), 'needs the codebook of the quantized value'),
        (dict(axes=dict(loss=dict(type='VQLoss', codebook_weight=0.0))), 'phi convolutions would never learn'),
        (dict(axes=dict(update=dict(type='AlternatingUpdate'))), 'AlternatingUpdate acts before codes'),
        (
            dict(axes=dict(projector=dict(type='AffineProjector', use_running_statistics=True))),
            'AffineProjector follows the statistics of latents',
        ),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=f'MultiScaleQuantizer: .*{message}'):
        multi_scale(**options)


def test_phis_may_learn_through_the_estimator_instead_of_the_loss():
    loss, estimator = dict(type='VQLoss', codebook_weight=0.0), dict(type='SynchronizedStraightThrough', nu=0.5)
    quantizer = multi_scale(True, axes=dict(loss=loss, estimator=estimator), num_phi=1)
    quantizer(latents()).z_q_BDHW.square().sum().backward()
    assert quantizer.phis[0].weight.grad.abs().sum() > 0


def test_only_vector_quantizers_are_wrapped():
    inner = dict(type='MultiScaleQuantizer', quantizer=VECTOR, scales=(1, 2))
    with pytest.raises(UserError, match='wraps a VectorQuantizer, LFQ, BSQ, FSQ or FSP, got MultiScaleQuantizer'):
        QUANTIZERS.build(dict(type='MultiScaleQuantizer', quantizer=inner))


def test_codes_of_another_pyramid_are_refused():
    codes = multi_scale(scales=(1, 3, 4))(latents(1, 4, 4)).codes
    with pytest.raises(UserError, match='MultiScaleQuantizer: cannot embed'):
        multi_scale(scales=(1, 2, 4)).embed(codes)


def test_smoke_keeps_the_pyramid_and_every_phi_at_work():
    config = dict(type='MultiScaleQuantizer', quantizer=VECTOR, num_phi=4)
    quantizer = build({**config, **MultiScaleQuantizer.smoke(config)}, True)
    sum(quantizer(latents(1, 4, 4)).losses.values()).backward()
    assert all(p.weight.grad is not None for p in quantizer.phis)
