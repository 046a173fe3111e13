"""Discriminators: what they see, how they start, and what their norms mix."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.autoencoders.layers.depth_to_space import depth_to_space
from fvq_core.errors import UserError
from fvq_core.interop.key_map import rename
from fvq_core.losses.discriminators import PatchGAN, StyleGANDiscriminator
from fvq_core.losses.discriminators.act_norm import ActNorm
from fvq_core.losses.discriminators.blurred_cnn import BlurredHalving
from fvq_core.losses.discriminators.stylegan import Blur, DiscriminatorBlock, mirrored
from fvq_core.registry import DISCRIMINATORS

from ..discriminator_rules import NOT_WEIGHTS, STYLEGAN_RULES

NORMS = ('batch', 'act', 'spectral', 'none')
TINY: dict[str, dict[str, Any]] = {
    **{norm: dict(type='PatchGAN', ch=4, layers=2, norm=norm) for norm in NORMS},
    'stylegan': dict(type='StyleGANDiscriminator', image_size=16, base_channels=8),
    'blurred': dict(type='BlurredCNN', ch=4, stages=2, norm_groups=2),
    'dino': dict(type='DINODiscriminator', depths=[0, 1], kernel=1, random=True),
    'dino of timm': dict(
        type='DINODiscriminator',
        depths=[-1, 1],
        kernel=1,
        model='vit_small_patch16_224.dino',
        options=dict(embed_dim=32, depth=2, num_heads=2),
        norm='batch',
        spectral=True,
        random=True,
    ),
}


def images(batch: int = 3, size: int = 16) -> Tensor:
    return torch.rand(batch, 3, size, size) * 2 - 1


@pytest.mark.parametrize('name', TINY)
def test_gradients_reach_the_images_and_every_parameter(name: str) -> None:
    network, x = DISCRIMINATORS.build(TINY[name]), images().requires_grad_()
    network(x).square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad.flatten(1).norm(dim=1) > 0).all())
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


@pytest.mark.parametrize(
    ('name', 'alone'),
    [
        *((name, True) for name in ('none', 'spectral', 'stylegan', 'blurred', 'dino')),
        ('batch', False),
        ('dino of timm', False),
    ],
)
def test_an_image_is_judged_independently_except_by_batch_norm(name: str, alone: bool) -> None:
    network, x = DISCRIMINATORS.build(TINY[name]), images()
    network.train(name == 'batch')  # the spectral norm moves on with each training call
    same = torch.allclose(network(x)[:2], network(x[:2]), rtol=1e-4, atol=1e-6)
    assert same == alone


@pytest.mark.parametrize('name', TINY)
def test_a_smoke_run_judges_its_64_pixel_images(name: str) -> None:
    kind = DISCRIMINATORS.resolve(TINY[name]['type'])
    full = {key: value for key, value in TINY[name].items() if key in ('type', 'norm', 'model', 'spectral')}
    network = DISCRIMINATORS.build({**full, **kind.smoke(full)})
    assert network(images(1, 64)).shape[:2] == (1, 1)
    assert sum(p.numel() for p in network.parameters()) < 60_000


@pytest.mark.parametrize(('layers', 'seen'), [(1, 16), (2, 34), (3, 70)])
def test_a_patchgan_logit_sees_the_published_patch(layers: int, seen: int) -> None:
    network = PatchGAN(ch=1, layers=layers, norm='none').double()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.1)  # so that no path is cut off
    x = torch.ones(1, 3, 128, 128, dtype=torch.float64, requires_grad=True)
    logits = network(x)
    assert logits.shape == (1, 1, 128 // 2**layers - 2, 128 // 2**layers - 2)
    middle = logits.shape[2] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], x)
    assert [int((gradient[0, 0] != 0).any(axis).sum()) for axis in (0, 1)] == [seen, seen]


def test_the_published_patchgan_has_its_size_and_its_state_dict_keys() -> None:
    with torch.device('meta'):
        network = PatchGAN()
    weights = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    assert sum(p.numel() for p in network.parameters()) == weights + 64 + 2 * (128 + 256 + 512) + 1
    assert {key.rsplit('.', 1)[0] for key in network.state_dict()} == {f'main.{i}' for i in (0, 2, 3, 5, 6, 8, 9, 11)}
    assert network(torch.empty(1, 3, 256, 256, device='meta')).shape == (1, 1, 30, 30)


def test_patchgan_starts_from_pix2pix_values() -> None:
    network = PatchGAN(ch=64, layers=2)
    conv, norm = network.main[5], network.main[6]
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    for weight, mean in ((conv.weight, 0.0), (norm.weight, 1.0)):
        assert weight.mean().item() == pytest.approx(mean, abs=4 * 0.02 / weight.numel() ** 0.5)
        assert weight.std().item() == pytest.approx(0.02, rel=0.15)
    assert conv.bias is None
    assert not norm.bias.any()


def test_channels_stop_growing_at_eight_times_the_first() -> None:
    network = PatchGAN(ch=2, layers=5, norm='none')
    assert [m.out_channels for m in network.main if isinstance(m, nn.Conv2d)] == [2, 4, 8, 16, 16, 16, 1]


def test_spectral_norm_brings_every_largest_singular_value_to_one() -> None:
    network = PatchGAN(ch=4, layers=2, norm='spectral')
    for _ in range(200):
        network(images(1))
    for module in network.main.eval():
        if isinstance(module, nn.Conv2d):
            assert torch.linalg.matrix_norm(module.weight.flatten(1), 2).item() == pytest.approx(1, rel=1e-2)


@pytest.mark.parametrize('options', [dict(norm='bach'), dict(layers=-1)])
def test_patchgan_refuses_what_it_does_not_know(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"did you mean 'batch'|must be 0 or more, got -1"):
        DISCRIMINATORS.build(dict(type='PatchGAN', **options))


def test_act_norm_starts_from_its_first_training_batch_and_is_then_left_to_the_optimizer() -> None:
    norm, first = ActNorm(5), 3 * torch.randn(4, 5, 6, 6) + 2
    assert torch.equal(norm.eval()(first), first)
    out = norm.train()(first)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(5))
    started = {key: value.clone() for key, value in norm.state_dict().items()}
    norm(first + 10)
    torch.testing.assert_close(norm.state_dict(), started, rtol=0, atol=0)


def test_a_loaded_act_norm_starts_from_its_state() -> None:
    fresh, used, batch = ActNorm(2), ActNorm(2), torch.randn(4, 2, 3, 3) + 5
    start = {key: value.clone() for key, value in fresh.state_dict().items()}
    used(batch)
    fresh.load_state_dict(used.state_dict())
    torch.testing.assert_close(fresh(batch + 1), used(batch + 1), rtol=0, atol=0)
    used.load_state_dict(start)
    torch.testing.assert_close(used(batch + 1).mean((0, 2, 3)), torch.zeros(2), rtol=0, atol=1e-5)


def test_blur_is_the_binomial_filter_with_mirrored_borders() -> None:
    x = torch.randn(2, 3, 5, 7)
    rows, columns = [1, 0, 1, 2, 3, 4, 3], [1, 0, 1, 2, 3, 4, 5, 6, 5]
    padded = x[:, :, rows][:, :, :, columns]
    taps = torch.tensor([1.0, 2.0, 1.0])
    expected = sum(taps[i] * taps[j] * padded[:, :, i : i + 5, j : j + 7] for i in range(3) for j in range(3))
    torch.testing.assert_close(Blur()(x), expected / 16)


def test_blur_and_depth_to_space_keep_channels_last_and_every_value() -> None:
    x = torch.randn(2, 8, 6, 5)
    last = x.contiguous(memory_format=torch.channels_last)
    for plain, function in (
        (F.pad(x, (1, 1, 1, 1), mode='reflect'), mirrored),
        (F.pixel_shuffle(x, 2), depth_to_space),
    ):
        got = function(last)
        assert torch.equal(got, plain)
        assert torch.equal(function(x), plain)
        assert got.is_contiguous(memory_format=torch.channels_last)


def test_a_stylegan_block_adds_its_halved_shortcut_over_the_root_of_two() -> None:
    block, x = DiscriminatorBlock(3, 4), torch.randn(2, 3, 8, 8)
    last = block.downsample[1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    halved = torch.einsum('oi,bihw->bohw', block.shortcut.weight[:, :, 0, 0], x[:, :, ::2, ::2])
    torch.testing.assert_close(block(x), (halved + block.shortcut.bias.view(1, -1, 1, 1)) / 2**0.5)


@pytest.mark.parametrize(('multiplier', 'fine'), [(1, [64, 128, 256]), (2, [128, 256, 512])])
def test_stylegan_has_the_published_channels(multiplier: int, fine: list[int]) -> None:
    with torch.device('meta'):
        network = StyleGANDiscriminator(256, channel_multiplier=multiplier)
    channels = [network.conv_in.out_channels, *(block.conv1.out_channels for block in network.blocks)]
    assert channels == [*fine, 512, 512, 512, 512]
    assert network(torch.empty(2, 3, 256, 256, device='meta')).shape == (2, 1)


def test_stylegan_names_the_sizes_that_it_takes() -> None:
    with pytest.raises(UserError, match='image_size must be a power of two of 4 or more, got 48'):
        DISCRIMINATORS.build(dict(type='StyleGANDiscriminator', image_size=48))
    with pytest.raises(UserError, match='built for images of 16 x 16, got 16 x 32'):
        DISCRIMINATORS.build(TINY['stylegan'])(torch.zeros(1, 3, 16, 32))


def test_the_released_stylegan_keys_cover_ours() -> None:
    block = [f'{part}.{kind}' for part in ('conv_res', 'net.0', 'net.2', 'downsample.1') for kind in ('weight', 'bias')]
    ends = [f'{part}.{kind}' for part in ('blocks.0', 'final_conv.0', 'final_linear.0', 'final_linear.2')
            for kind in ('weight', 'bias')]  # fmt: skip
    released = [*ends, *(f'blocks.{i}.{key}' for i in (2, 3) for key in (*block, 'downsample.0.f'))]
    ours = rename({key: torch.zeros(()) for key in released}, STYLEGAN_RULES, 'LlamaGen', NOT_WEIGHTS)
    assert ours.keys() == DISCRIMINATORS.build(TINY['stylegan']).state_dict().keys()


@pytest.mark.parametrize('size', [(8, 6), (7, 5)])
def test_a_blurred_halving_is_a_binomial_filter_at_every_second_position(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    expected = x.new_zeros(2, 3, -(-size[0] // 2), -(-size[1] // 2))
    for i, j in itertools.product(range(expected.shape[2]), range(expected.shape[3])):
        for k, l in itertools.product(range(4), range(4)):  # noqa: E741
            row, column = 2 * i + k - 1, 2 * j + l - 1
            if 0 <= row < size[0] and 0 <= column < size[1]:
                expected[:, :, i, j] += taps[k] * taps[l] * x[:, :, row, column]
    torch.testing.assert_close(BlurredHalving()(x), expected)
