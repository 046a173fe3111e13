"""Open-MAGVIT2's encoder and its decoder with adaptive group norm, and a tokenizer without quant convolutions."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.autoencoders.layers.adaptive_group_norm import AdaptiveGroupNorm
from fvq_core.autoencoders.layers.depth_to_space import DepthToSpaceUpsample
from fvq_core.errors import UserError
from fvq_core.registry import DECODERS, ENCODERS, TOKENIZERS
from fvq_core.tokenizer import Tokenizer
from tests.tiny import random_images, tokenizer_config

SMALL: dict[str, Any] = dict(ch=8, ch_mult=(1, 2), num_res_blocks=2, z_channels=5, norm_groups=4)


def encoder(**options: Any) -> nn.Module:
    return ENCODERS.build(dict(type='MAGVIT2Encoder', **{**SMALL, **options}))


def decoder(**options: Any) -> nn.Module:
    return DECODERS.build(dict(type='AdaptiveGroupNormDecoder', **{**SMALL, **options}))


def magvit2_tokenizer(**changes: Any) -> Tokenizer:
    config = dict(
        type='Tokenizer',
        encoder=dict(type='MAGVIT2Encoder', **SMALL),
        quantizer=dict(type='LFQ', codebook_size=32),
        decoder=dict(type='AdaptiveGroupNormDecoder', **SMALL),
        quant_kernel=0,
    )
    return TOKENIZERS.build({**config, **changes})


def gradients(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(2)
    output = module(x)
    (output * torch.randn_like(output)).sum().backward()
    return {name: parameter.grad for name, parameter in module.named_parameters()}


def test_adaptive_group_norm_is_its_formula():
    layer, x, z = AdaptiveGroupNorm(8, 5, norm_groups=4), torch.randn(2, 8, 6, 4), torch.randn(2, 5, 3, 2)
    got = layer(x, z)
    for b in range(2):
        values = x[b].double().view(4, 2 * 6 * 4)
        normal = (values - values.mean(1, keepdim=True)) / (values.var(1, correction=0, keepdim=True) + 1e-6).sqrt()
        pooled = z[b].double().view(5, -1)
        deviation = ((pooled - pooled.mean(1, keepdim=True)).square().sum(1) / 5 + 1e-6).sqrt()
        scale = layer.scale.weight.double() @ deviation + layer.scale.bias.double()
        shift = layer.shift.weight.double() @ pooled.mean(1) + layer.shift.bias.double()
        expected = normal.view(8, 6, 4) * scale[:, None, None] + shift[:, None, None]
        torch.testing.assert_close(got[b], expected.float())


def test_latent_of_one_position_modulates_with_deviation_zero():
    layer, x, z = AdaptiveGroupNorm(8, 5, norm_groups=4), torch.randn(2, 8, 4, 4), torch.randn(2, 5, 1, 1)
    z.requires_grad_()
    got = layer(x, z)
    got.square().sum().backward()
    assert got.isfinite().all()
    assert z.grad.isfinite().all()
    scale = layer.scale(torch.full((2, 5), 1e-3))
    expected = layer.norm(x) * scale[:, :, None, None] + layer.shift(z[:, :, 0, 0])[:, :, None, None]
    torch.testing.assert_close(got, expected)


def test_depth_to_space_puts_four_channels_into_two_rows_of_two():
    layer, x = DepthToSpaceUpsample(3), torch.randn(1, 3, 4, 5)
    deep, up = layer.conv(x), layer(x)
    assert up.shape == (1, 3, 8, 10)
    for i in range(2):
        for j in range(2):
            assert torch.equal(up[:, :, i::2, j::2], deep[:, 2 * i + j :: 4])


def test_sides_are_divided_and_multiplied_by_the_same_factor():
    z = encoder(ch_mult=(1, 1, 2))(torch.randn(2, 3, 16, 24))
    assert z.shape == (2, 5, 4, 6)
    assert decoder(ch_mult=(1, 1, 2))(z).shape == (2, 3, 16, 24)
    assert (encoder().downsample_factor, decoder().upsample_factor) == (2, 2)


def test_released_sizes_are_those_of_the_defaults():
    with torch.device('meta'):
        sizes = [sum(p.numel() for p in build().parameters()) for build in (release_encoder, release_decoder)]
    # Every level: its residual blocks (3x3 convolutions without bias, two norms, a 1x1 shortcut where channels change).
    assert sizes == [expected_encoder_size(), expected_decoder_size()]


def release_encoder() -> nn.Module:
    return ENCODERS.build(dict(type='MAGVIT2Encoder'))


def release_decoder() -> nn.Module:
    return DECODERS.build(dict(type='AdaptiveGroupNormDecoder'))


def blocks_size(before: int, after: int, count: int = 4) -> int:
    first = 9 * (before + after) * after + 2 * (before + after) + (before * after if before != after else 0)
    return first + (count - 1) * (18 * after * after + 4 * after)


def expected_encoder_size() -> int:
    widths = [128, 128, 128, 256, 256, 512]
    levels = sum(blocks_size(a, b) for a, b in pairwise(widths)) + blocks_size(512, 512)
    strided = sum(9 * c * c + c for c in widths[1:-1])
    return 27 * 128 + levels + strided + 2 * 512 + 512 * 18 + 18


def expected_decoder_size() -> int:
    widths = [512, 512, 256, 256, 128, 128]
    levels = blocks_size(512, 512) + sum(blocks_size(a, b) for a, b in pairwise(widths))
    up = sum(4 * (9 * c * c + c) for c in widths[1:-1])
    adaptive = sum(2 * (18 * c + c) for c in widths[:-1])
    return 9 * 18 * 512 + 512 + levels + up + adaptive + 2 * 128 + 27 * 128 + 3


def test_latent_modulates_every_level():
    module, z = decoder(), torch.randn(2, 5, 3, 4)
    grads = gradients(module, z)
    assert len(module.adaptive) == 2
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads.values())
    with torch.no_grad():
        before = module(z)
        for level in module.adaptive:
            kept = copy.deepcopy(level.state_dict())
            level.scale.weight.zero_()
            assert not torch.allclose(module(z), before)
            level.load_state_dict(kept)
        assert torch.equal(module(z), before)


@pytest.mark.parametrize(('build', 'shape'), [(encoder, (2, 3, 8, 12)), (decoder, (2, 5, 4, 6))])
def test_checkpointing_changes_no_gradient(build: Any, shape: tuple[int, ...]):
    plain, x = build(), torch.randn(shape)
    saving = build(checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    torch.testing.assert_close(gradients(saving, x), gradients(plain, x), rtol=0, atol=0)


@pytest.mark.parametrize(('build', 'shape'), [(encoder, (2, 3, 8, 12)), (decoder, (2, 5, 4, 6))])
@torch.no_grad()
def test_channels_last_gives_the_same_values(build: Any, shape: tuple[int, ...]):
    module, x = build(), torch.randn(shape)
    expected = module(x)
    got = module.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert got.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('build', [encoder, decoder])
def test_levels_may_have_different_numbers_of_blocks(build: Any):
    module = build(num_res_blocks=(0, 3))
    counts = [sum(hasattr(block, 'norm1') for block in level) for level in module.levels]
    assert counts == ([0, 3] if build is encoder else [3, 0])
    assert len(module.mid) == 3


@torch.no_grad()
def test_kernel_zero_leaves_out_both_convolutions(tmp_path: Any):
    tokenizer, images = magvit2_tokenizer().eval(), random_images()
    assert not [key for key in tokenizer.state_dict() if 'quant' in key]
    assert torch.equal(tokenizer.encode_latent(images), tokenizer.encoder(images))
    output = tokenizer(images)
    assert torch.equal(output.reconstruction, tokenizer.decoder(output.quantized.z_q_BDHW))
    assert torch.equal(tokenizer.decode(tokenizer.encode(images)), output.reconstruction)
    tokenizer.save_pretrained(tmp_path / 'saved')
    assert torch.equal(Tokenizer.from_pretrained(tmp_path / 'saved')(images).reconstruction, output.reconstruction)


def test_training_reaches_every_weight():
    tokenizer, images = magvit2_tokenizer().train(), random_images()
    output = tokenizer(images)
    (F.mse_loss(output.reconstruction, images) + sum(output.losses.values())).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tokenizer.parameters())


def test_kernel_zero_wants_equal_channels_and_even_kernels_are_refused():
    with pytest.raises(UserError, match='quant_kernel 0 cannot lead from 5 to 4 channels'):
        magvit2_tokenizer(quantizer=dict(type='LFQ', codebook_size=16))
    with pytest.raises(UserError, match='quant_kernel 2 cannot'):
        TOKENIZERS.build(dict(tokenizer_config(), quant_kernel=2))
