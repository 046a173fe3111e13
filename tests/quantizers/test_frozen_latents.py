"""A tokenizer around a frozen autoencoder: the composition written out, latents for images, ReVQ's arrangement, its resets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import Grid, LatentLayout, Latents, Sequence
from fvq_core.errors import UserError
from fvq_core.registry import TOKENIZERS
from fvq_quantizers.frozen_latents import FlatLatentDecoder, FlatLatentEncoder, LatentTokenizer
from fvq_quantizers.updates import SplitUsedCodes
from tests.quantizers.matrix import VECTOR
from tests.tiny import HALF, kl_config, random_images, tokenizer_config

SCALED: dict[str, Any] = dict(latent_scale=0.5, latent_shift=0.25)
ADAPTER = dict(HALF, ch_mult=(1,))
QUANTIZER = dict(VECTOR, init=dict(type='NormalInit', std=0.5))
ENCODER = dict(
    type='LatentEncoder', autoencoder=kl_config(**SCALED), adapter=dict(ADAPTER, type='VQGANEncoder', in_channels=4)
)
DECODER = dict(ADAPTER, type='VQGANDecoder', out_channels=4)
CONFIG = dict(type='LatentTokenizer', encoder=ENCODER, quantizer=QUANTIZER, decoder=DECODER, quant_kernel=1)
FLAT = dict(height=3, width=4)


def tokenizer(**changes: Any) -> LatentTokenizer:
    torch.manual_seed(0)
    return TOKENIZERS.build({**CONFIG, **changes}).eval()


@torch.no_grad()
def test_it_is_the_autoencoder_with_adapter_quantizer_and_rectifier_between_its_normalized_latents():
    model, images = tokenizer(), random_images()
    source = model.autoencoder
    normalized = (source.encode_latent(images) - 0.25) * 0.5
    out = model.quantizer(model.pre_quant(model.encoder.adapter(normalized)))
    assert len(out.codes.indices_BL.unique()) > 2
    assert model.encode(images) == out.codes
    rectified = model.decoder(model.post_quant(out.z_q_BDHW))
    expected = source.decode_latent(rectified / 0.5 + 0.25)
    assert torch.equal(model(images).reconstruction, expected)
    assert torch.equal(model.decode(out.codes), expected)
    assert model.layout(8, 12) == out.codes.layout
    assert out.codes.layout.positions == Grid(4, 6)
    assert (model.downsample_factor, model.encoder.in_channels, model.encoder.example_size) == (2, 3, (256, 256))


@torch.no_grad()
def test_latents_stand_for_their_images_and_are_reconstructed_as_latents():
    model, images = tokenizer(), random_images()
    latents = model.autoencoder.encode(images)
    of_images, of_latents = model(images), model(latents)
    assert of_images.codes == of_latents.codes
    decoded = model.autoencoder.decode_latent(of_latents.reconstruction / 0.5 + 0.25)
    assert torch.equal(decoded, of_images.reconstruction)


def test_it_is_saved_and_loaded_as_any_tokenizer(tmp_path: Path):
    model, images = tokenizer(), random_images()
    model.fold().save_pretrained(tmp_path / 'saved')
    loaded = Autoencoder.from_pretrained(tmp_path / 'saved')
    assert isinstance(loaded, LatentTokenizer)
    assert torch.equal(loaded(images).reconstruction, model(images).reconstruction)
    assert loaded.bfloat16().decode(loaded.encode(images)).dtype == torch.bfloat16


@torch.no_grad()
def test_flat_latents_are_cut_as_the_release_of_revq_cuts_them():
    latent = torch.arange(2 * 4 * 3 * 4, dtype=torch.float32).view(2, 4, 3, 4)
    for tokens in (1, 6):
        encoder = FlatLatentEncoder(**FLAT, in_channels=4, tokens=tokens)
        flat = encoder(latent)
        assert encoder.positions(3, 4) == Sequence(tokens)
        assert torch.equal(flat.transpose(1, 2), latent.view(2, tokens, -1))  # its `Viewer.shuffle`
        decoder = FlatLatentDecoder(**FLAT, latent_channels=encoder.out_channels, tokens=tokens)
        assert torch.equal(decoder(flat), latent)


@torch.no_grad()
def test_each_group_of_flat_latents_has_a_codebook_for_a_run_of_values_of_one_channel():
    groups = dict(type='ProductQuantizer', quantizer=dict(QUANTIZER, code_dim=4), groups=12)
    model = tokenizer(
        encoder=dict(ENCODER, adapter=dict(FLAT, type='FlatLatentEncoder')),
        quantizer=groups,
        decoder=dict(FLAT, type='FlatLatentDecoder'),
        quant_kernel=0,
    )
    latents = Latents(torch.randn(2, 4, 3, 4), LatentLayout(Grid(3, 4), 4, 0.5, 0.25))
    indices_BL = model(latents).codes.indices_BL
    assert indices_BL.shape == (2, 12)
    row = latents.normalized()[1, 2, 1]  # of the second image, channel 2, row 1: group 2 * 3 + 1
    codebook_KD = model.quantizer.quantizers[7].codebook()
    assert int(indices_BL[1, 7]) == int((codebook_KD - row).square().sum(1).argmin())
    assert model.encoder.example_size == (6, 8)
    with pytest.raises(UserError, match=r'takes latents of \(3, 4\), got \(4, 6\); resize the images'):
        model.encode(random_images())


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(encoder=dict(type='VQGANEncoder', **HALF)), 'its encoder is a LatentEncoder, got VQGANEncoder'),
        (
            dict(encoder=dict(ENCODER, autoencoder=tokenizer_config())),
            r'takes a continuous autoencoder .*Tokenizer has codes',
        ),
        (
            dict(encoder=dict(ENCODER, adapter=dict(ADAPTER, type='VQGANEncoder', in_channels=3))),
            'the latents have 4 channels, VQGANEncoder takes 3; set in_channels=4',
        ),
        (
            dict(decoder=dict(HALF, type='VQGANDecoder', out_channels=4)),
            'divides the side of the latents by 1, .* by 2',
        ),
        (
            dict(
                encoder=dict(ENCODER, adapter=dict(FLAT, type='FlatLatentEncoder', tokens=7)),
                quantizer=dict(QUANTIZER, code_dim=7),
            ),
            '48 values of a latent do not make 7 tokens',
        ),
        (
            dict(quantizer=dict(QUANTIZER, code_dim=7), decoder=dict(FLAT, type='FlatLatentDecoder')),
            '1 tokens of 7 values do not fill 3x4 positions',
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        tokenizer(**changes)


def test_a_rectifier_of_other_channels_is_named():
    model = tokenizer(decoder=dict(ADAPTER, type='VQGANDecoder', out_channels=3))
    with pytest.raises(UserError, match='the latents have 4 channels, VQGANDecoder gives 3; set out_channels=4'):
        model(random_images())


def test_unused_codes_move_next_to_the_most_used_ones_when_it_is_time():
    update = SplitUsedCodes(interval=2, share=0.5, noise=0.0)
    codebook_KD = torch.arange(6.0)[:, None].repeat(1, 2)
    update.attach(codebook_KD, torch.nn.Identity(), torch.nn.Identity())
    z = torch.zeros(4, 2)
    update.step(codebook_KD, z, torch.tensor([5, 5, 5, 1]))
    assert codebook_KD[:, 0].tolist() == [0, 1, 2, 3, 4, 5], 'before the interval is over nothing moves'
    update.step(codebook_KD, z, torch.tensor([1, 3, 3, 5]))
    # By use 5 (4 times), then 1 and 3 (twice); 0, 2 and 4 never: half of six codes may move, the last of them first.
    assert sorted(codebook_KD[:, 0].tolist()) == [1, 1, 3, 3, 5, 5]
    assert codebook_KD[[1, 3, 5], 0].tolist() == [1, 3, 5]
    assert (int(update.searches), int(update.counts_K.sum())) == (0, 0), 'and it counts from the start again'


def test_a_reset_moves_no_more_than_its_share_and_with_its_noise():
    torch.manual_seed(0)
    update = SplitUsedCodes(interval=1, share=0.1, noise=0.1)
    codebook_KD = torch.arange(1000.0)[:, None].repeat(1, 64)
    before = codebook_KD.clone()
    update.attach(codebook_KD, torch.nn.Identity(), torch.nn.Identity())
    update.step(codebook_KD, torch.zeros(1, 64), torch.tensor([7]))
    moved = (codebook_KD != before).any(1)
    assert int(moved.sum()) == 100
    nearest = codebook_KD[moved].mean(1).round()
    assert float((codebook_KD[moved] - nearest[:, None]).std()) == pytest.approx(0.1, rel=0.03)
    with pytest.raises(UserError, match=r'SplitUsedCodes: interval must be 1 or more, share lie in \(0, 1\]'):
        SplitUsedCodes(interval=0)
