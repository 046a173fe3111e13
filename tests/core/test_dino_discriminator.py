"""DINOv2's features against timm's network, the heads on them, and differentiable augmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.losses.adversarial import AdversarialLoss, DiffAugment
from fvq_core.losses.adversarial.diff_augment import cut, recolor, shift
from fvq_core.losses.discriminators import DINODiscriminator
from fvq_core.losses.discriminators.dino import Head
from fvq_core.losses.discriminators.local_batch_norm import LocalBatchNorm
from fvq_core.losses.perceptual import DINOv2Features, MissingWeightsError, ViTFeatures, dinov2
from fvq_core.losses.perceptual.timm_network import network_name
from fvq_core.losses.perceptual.vit_features import SMALL
from fvq_core.registry import LOSSES

from ..tiny import random_images


def published(network: Any) -> dict[str, Tensor]:
    """timm's DINOv2 in the keys of the published file."""
    state = {key: value.clone() for key, value in network.state_dict().items()}
    return state | {'mask_token': torch.zeros(1, 384)}


@torch.no_grad()
def test_features_are_those_of_timms_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import timm

    monkeypatch.setattr(dinov2, 'SIDE', 4)
    torch.manual_seed(0)
    reference = timm.create_model('vit_small_patch14_dinov2', img_size=56, pos_embed='learn').eval()
    for name, parameter in reference.named_parameters():
        if name.endswith(('gamma', 'bias', 'pos_embed', 'norm1.weight')):
            torch.nn.init.normal_(parameter, std=0.5)
    torch.save(published(reference), tmp_path / 'dinov2_vits14_pretrain.pth')
    features, images = DINOv2Features([0, 5, 11], tmp_path), random_images(height=56, width=56)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    found = reference.forward_intermediates(
        ((images + 1) / 2 - mean) / std,
        [0, 5, 11],
        return_prefix_tokens=True,
        output_fmt='NLC',
        intermediates_only=True,
    )
    for ours, (patches, prefix) in zip(features(images), found, strict=True):
        torch.testing.assert_close(ours, patches + prefix[:, :1], rtol=1e-3, atol=1e-3)
    assert features.provenance.startswith('dinov2_vits14_pretrain.pth, sha256 ')


def test_positions_are_resized_by_the_scale_of_dinov2() -> None:
    net = DINOv2Features([0], random=True).net
    ramp = torch.arange(37.0)
    net.pos_embed.data[0, 1:] = (ramp[:, None] + 100 * ramp).flatten()[:, None]
    found = net.positions(9, 12)[0, :, 0].view(9, 12)
    rows, columns = ((torch.arange(n) + 0.5) * 37 / (n + 0.1) - 0.5 for n in (9, 12))
    expected = rows[:, None] + 100 * columns
    # The cubic kernel follows a line to 0.06; without the tenth of a patch, positions would be off by up to 0.3.
    torch.testing.assert_close(found[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=0, atol=6.0)
    assert torch.equal(net.positions(37, 37), net.pos_embed[:, 1:])


def test_missing_and_foreign_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(MissingWeightsError, match=r'dinov2_vits14_pretrain\.pth does not exist; fetch https://'):
        DINODiscriminator()
    torch.save({'blocks.0.ls9.gamma': torch.ones(384)}, tmp_path / 'other.pth')
    with pytest.raises(UserError, match=r'blocks\.0\.ls9\.gamma scales no map that is known'):
        DINODiscriminator(weights=tmp_path / 'other.pth')
    with pytest.raises(UserError, match='random=True contradicts weights='):
        DINODiscriminator(weights=tmp_path / 'other.pth', random=True)
    with pytest.raises(UserError, match=r'depths lie in \[0, 12\), got \[12\]'):
        DINODiscriminator(depths=[12], random=True)
    with pytest.raises(UserError, match='kernel must be odd, got 4'):
        DINODiscriminator(kernel=4, random=True)


@torch.no_grad()
def test_a_head_is_its_formula_and_the_patches_form_a_ring() -> None:
    head, x = Head(8, 32, 3), torch.randn(2, 8, 6)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)

    def norm(layer: Any, h: Tensor) -> Tensor:
        return F.leaky_relu(F.group_norm(h, 32, layer.weight, layer.bias, 1e-6), 0.2)

    h = norm(head.norm_in, torch.einsum('oi,bil->bol', head.conv_in.weight[..., 0], x) + head.conv_in.bias[:, None])
    ring = F.conv1d(torch.cat([h[..., -1:], h, h[..., :1]], 2), head.conv.weight, head.conv.bias)
    torch.testing.assert_close(head(x), head.conv_out((h + norm(head.norm, ring)) / 2**0.5), rtol=1e-4, atol=1e-5)


def test_sides_become_multiples_of_the_patches() -> None:
    discriminator, images = DINODiscriminator(random=True), random_images(height=30, width=45)
    assert discriminator.eval()(images).shape == (2, 1, 5, 6)
    torch.testing.assert_close(discriminator.fit(images), F.interpolate(images, (28, 42), mode='area'))
    seen = [discriminator.train().fit(images) for _ in range(40)]
    crops = {
        (top, left)
        for found in seen
        for top in range(3)
        for left in range(4)
        if torch.equal(found, images[..., top : top + 28, left : left + 42])
    }
    means = [found for found in seen if torch.equal(found, F.interpolate(images, (28, 42), mode='area'))]
    assert len(crops) > 3
    assert 8 < len(means) < 32
    assert torch.equal(discriminator.fit(images[..., :28, :42]), images[..., :28, :42])
    with pytest.raises(UserError, match='sides of 14 or more, got 30x13'):
        discriminator(images[..., :13])


@pytest.mark.filterwarnings('ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning')  # Dynamo's own
def test_a_compiled_discriminator_is_one_graph_with_the_same_logits() -> None:
    torch._dynamo.reset()
    discriminator = DINODiscriminator(depths=[0], channels=32, random=True).train()
    images = random_images(height=30, width=45)
    torch.manual_seed(0)
    expected = discriminator(images)
    discriminator.compile(backend='eager', fullgraph=True)
    torch.manual_seed(0)
    torch.testing.assert_close(discriminator(images), expected)


def test_only_the_heads_are_trained_saved_and_reached() -> None:
    discriminator, images = DINODiscriminator(depths=[0, 1], random=True), random_images(height=28, width=28)
    assert {key.split('.')[0] for key in discriminator.state_dict()} == {'heads'}
    leaf = images.requires_grad_()
    discriminator(leaf).square().sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.any()
    assert all(p.grad is not None for p in discriminator.parameters())
    assert not any(p.requires_grad for p in discriminator.network.parameters())


# Networks of timm

OF_TIMM: dict[str, Any] = dict(model='vit_small_patch16_224.dino', options=SMALL)


def test_the_published_heads_have_their_size_and_see_224_pixels() -> None:
    with torch.device('meta'):
        published = DINODiscriminator(
            (-1, 2, 5, 8, 11), model=OF_TIMM['model'], image_size=224, norm='batch', spectral=True
        )
        logits = published(torch.empty(2, 3, 256, 256))
    assert logits.shape == (2, 1, 5, 196)
    # 7.39 million in the comments of the release.
    assert sum(p.numel() for p in published.parameters()) == 5 * (384 * 384 * 10 + 7 * 384 + 1)


def test_images_are_cropped_averaged_or_enlarged_to_what_the_network_sees() -> None:
    discriminator = DINODiscriminator([0], **OF_TIMM, image_size=32, random=True)
    images, small = random_images(height=40, width=36), random_images(height=20, width=40)
    means = F.interpolate(images, (32, 32), mode='area')
    assert torch.equal(discriminator.eval().fit(images), means)
    seen = [discriminator.train().fit(images) for _ in range(20)]
    assert 2 < sum(torch.equal(found, means) for found in seen) < 18
    assert torch.equal(discriminator.fit(small), F.interpolate(small, (32, 32), mode='bicubic'))
    with pytest.raises(UserError, match='image_size must be a multiple of 16, got 30'):
        DINODiscriminator([0], **OF_TIMM, image_size=30, random=True)
    with pytest.raises(UserError, match="unknown norm 'bach'; did you mean 'batch'"):
        DINODiscriminator([0], norm='bach', random=True)  # pyrefly: ignore[bad-argument-type]
    with pytest.raises(UserError, match='name it as model'):
        DINODiscriminator([0], options=SMALL, random=True)


def test_local_batch_norm_is_that_of_each_few_images() -> None:
    norm, x = LocalBatchNorm(3, images=4), torch.randn(9, 3, 5)
    torch.nn.init.normal_(norm.weight)
    expected = [F.batch_norm(part, None, None, norm.weight, norm.bias, training=True, eps=1e-6) for part in x.split(3)]
    torch.testing.assert_close(norm(x), torch.cat(expected))
    torch.testing.assert_close(
        norm.eval()(x[:4]), F.batch_norm(x[:4], None, None, norm.weight, norm.bias, True, eps=1e-6)
    )


def test_r1_refuses_what_mixes_images() -> None:
    discriminator = dict(type='DINODiscriminator', depths=[0], **OF_TIMM, norm='batch', random=True)
    with pytest.raises(UserError, match='has BatchNorm'):
        LOSSES.build(dict(type='AdversarialLoss', discriminator=discriminator, r1=1.0))


@pytest.mark.parametrize(
    'model',
    ['vit_small_patch16_224.dino', 'vit_small_patch14_reg4_dinov2.lvd142m', 'vit_base_patch16_siglip_256.webli'],
)
@torch.no_grad()
def test_features_of_any_transformer_are_timms(model: str, tmp_path: Path) -> None:
    import timm

    torch.manual_seed(1)
    reference = timm.create_model(model, num_classes=0, global_pool='', dynamic_img_size=True, **SMALL).eval()
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    torch.save(reference.state_dict() | {'head.weight': torch.zeros(2)}, tmp_path / 'weights.pth')
    features = ViTFeatures(model, [0, 1], tmp_path / 'weights.pth', options=SMALL)
    images = random_images(height=4 * features.patch_size, width=2 * features.patch_size)
    mean, std = (torch.tensor(reference.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ('mean', 'std'))
    seen = ((images + 1) / 2 - mean) / std
    found = reference.forward_intermediates(
        seen, [0, 1], return_prefix_tokens=True, output_fmt='NLC', intermediates_only=True
    )
    for ours, entry in zip(features(images), found, strict=True):
        patches, prefix = entry if isinstance(entry, tuple) else (entry, torch.zeros(2, 1, 32))
        torch.testing.assert_close(ours, patches + prefix[:, :1])
    last = reference.forward_features(seen)[:, reference.num_prefix_tokens :]
    torch.testing.assert_close(features.patches(images), last)
    assert features.provenance.startswith(f'{model}, weights.pth, sha256 ')


def test_networks_are_known_by_name_and_weights_are_never_fetched_unasked(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"weights as `weights`; 'pretrained' lets timm download"):
        ViTFeatures('vit_small_patch16_224.dino')
    with pytest.raises(MissingWeightsError, match=r'missing\.pth does not exist'):
        ViTFeatures('vit_small_patch16_224.dino', weights=tmp_path / 'missing.pth')
    with pytest.raises(UserError, match="timm has no network 'vit_smal_patch16_224'; did you mean"):
        ViTFeatures('vit_smal_patch16_224', random=True)
    with pytest.raises(UserError, match='resnet18 is no plain vision transformer'):
        ViTFeatures('resnet18', random=True)
    with pytest.raises(UserError, match=r'lie in \[-1, 2\), got \[2\]'):
        ViTFeatures('vit_small_patch16_224.dino', [2], random=True, options=SMALL)
    names = ['vit_small_patch16_224.dino', 'vit_base_patch14_reg4_dinov2.lvd142m', 'vit_base_patch16_clip_224.openai']
    assert [network_name(name) for name in names] == ['dino', 'dinov2', 'clip']


# Augmentation


def test_a_shift_moves_images_and_brings_zeros() -> None:
    x = torch.arange(1.0, 33.0).view(2, 1, 4, 4)
    draws = torch.tensor([[0.99, 0.5], [0.0, 0.99]])  # down, right: 1 and -1; 0 and 1
    moved = shift(x, draws, 0.25)
    assert torch.equal(moved[0, 0, :3, 1:], x[0, 0, 1:, :3])
    assert not moved[0, 0, 3].any()
    assert not moved[0, 0, :, 0].any()
    assert torch.equal(moved[1, 0, :, :3], x[1, 0, :, 1:])
    assert not moved[1, 0, :, 3].any()


def test_colours_are_their_formulas() -> None:
    x, (b, s, c) = torch.randn(2, 3, 4, 4), torch.rand(3, 2, 1, 1, 1)
    y = recolor(x, b, s, c)
    torch.testing.assert_close(y.mean((1, 2, 3)), (x.mean((1, 2, 3)) + b.flatten() - 0.5))
    neutral = torch.full((2, 1, 1, 1), 0.5)
    torch.testing.assert_close(recolor(x, neutral, neutral, neutral), x)
    grey = recolor(x, neutral, torch.zeros_like(s), neutral)
    torch.testing.assert_close(grey, x.mean(1, keepdim=True).expand_as(x))
    torch.testing.assert_close(recolor(x, neutral, neutral, c).std((1, 2, 3)), x.std((1, 2, 3)) * (c.flatten() + 0.5))


@pytest.mark.parametrize('part', [0.2, 0.3])
def test_a_cut_is_a_rectangle_that_always_lies_partly_inside(part: float) -> None:
    x = torch.ones(500, 1, 10, 20)
    gone = cut(x, torch.rand(2, 500), part)[:, 0] == 0
    counts = gone.flatten(1).sum(1)
    assert counts.min() >= 1
    assert counts.max() == round(10 * part) * round(20 * part)
    assert torch.equal(gone, gone.any(2, keepdim=True) & gone.any(1, keepdim=True))


def test_augmentation_differs_from_image_to_image_and_passes_gradients() -> None:
    x = torch.randn(1, 3, 16, 16).expand(3, -1, -1, -1).clone().requires_grad_()
    y = DiffAugment()(x)
    assert not torch.allclose(y[0], y[1])
    y.sum().backward()
    assert (x.grad != 0).flatten(1).any(1).all()
    same = DiffAugment(translation=0.0, color=False, cutout=0.0)
    assert torch.equal(same(x), x)
    with pytest.raises(UserError, match=r'parts of a side, got 2 and 0\.2'):
        DiffAugment(translation=2)


# In the adversarial loss


def adversarial(**options: Any) -> AdversarialLoss:
    discriminator = dict(type='PatchGAN', ch=4, layers=1, norm='none')
    return LOSSES.build(dict(type='AdversarialLoss', discriminator=discriminator, start=0, **options))


def test_consistency_is_the_change_of_the_logits_with_another_draw() -> None:
    loss, real, fake = adversarial(augment=dict(type='DiffAugment'), consistency=4.0), random_images(), random_images()
    torch.manual_seed(0)
    found = loss(real, fake)
    torch.manual_seed(0)
    draws = [loss.augment(x) for x in (real, fake, real, fake)]
    logits = [loss.discriminator(x) for x in draws]
    expected = F.mse_loss(logits[2], logits[0]) + F.mse_loss(logits[3], logits[1])
    torch.testing.assert_close(found['consistency'], 4 * expected)
    torch.testing.assert_close(found['discriminator'], 0.5 * loss.loss.discriminator(logits[0], logits[1]))
    torch.manual_seed(0)
    torch.testing.assert_close(loss.generator(fake), -loss.discriminator(draws_of(loss, fake)).mean())
    with pytest.raises(UserError, match='consistency compares draws of augment'):
        adversarial(consistency=4.0)


def draws_of(loss: AdversarialLoss, fake: Tensor) -> Tensor:
    torch.manual_seed(0)
    return loss.augment(fake)


def test_the_weight_warms_up_and_a_resumed_run_goes_on() -> None:
    loss = adversarial(weight=0.4, warmup=4)
    layer = torch.nn.Parameter(torch.ones(()))
    weights = [loss.generator_weight(layer * 1, layer * 1, layer).item() for _ in range(3)]
    resumed = adversarial(weight=0.4, warmup=4)
    resumed.load_state_dict(loss.state_dict())
    weights += [resumed.generator_weight(layer * 1, layer * 1, layer).item() for _ in range(3)]
    assert weights == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.4])
