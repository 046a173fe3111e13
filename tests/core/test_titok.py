"""TiTok's encoder, decoder and heads: layouts, the released reshape, both stages, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.autoencoder import Autoencoder
from fvq_core.autoencoders import TiTokDecoder, TiTokEncoder
from fvq_core.codes import CodeLayout, Grid, LatentLayout, Sequence
from fvq_core.errors import UserError
from fvq_core.registry import DECODERS, ENCODERS, MODELS, TOKENIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_core.training.load_task import inference_task
from fvq_core.training.start_weights import find_start_weights
from fvq_generators.fingerprint import tokenizer_hash

from ..tiny import PROXY_HEAD, maskgit_config, random_images, titok_config, titok_kl_config

STAGE_1 = dict(PROXY_HEAD, stage=1)


def images() -> Tensor:
    return random_images(2, 16, 24)


def tokenizer(**changes: Any) -> Tokenizer:
    torch.manual_seed(0)
    return TOKENIZERS.build(titok_config(**changes)).eval()


def stage_1_config(proxy: Path, **changes: Any) -> dict[str, Any]:
    """A task of the first stage, whose proxy is saved in a folder."""
    torch.manual_seed(1)
    TOKENIZERS.build(maskgit_config(**changes)).save_pretrained(proxy)
    loss = dict(type='ProxyCodesLoss', tokenizer=str(proxy))
    return dict(type='TokenizerTask', tokenizer=titok_config(STAGE_1), reconstruction_loss=loss)


@pytest.mark.parametrize('text_length', [0, 3])
@pytest.mark.parametrize('head', [None, PROXY_HEAD, STAGE_1])
@torch.no_grad()
def test_codes_are_a_sequence_and_decode_to_what_forward_gives(head: Any, text_length: int, tmp_path: Path):
    ours, batch = tokenizer(head=head, text_length=text_length, text_width=5), images()
    codes = ours.encode(batch)
    assert codes.layout == ours.layout(16, 24) == CodeLayout(Sequence(6), 16)
    ours.check_layout(codes.layout)
    output = ours(batch)
    assert output.reconstruction.shape == batch.shape
    assert torch.equal(ours.decode(codes), output.reconstruction)
    loaded = Autoencoder.from_pretrained(ours.fold().save_pretrained(tmp_path / 'saved'))
    assert torch.equal(loaded(batch).reconstruction, output.reconstruction)
    assert tokenizer_hash(loaded) == tokenizer_hash(ours)


@torch.no_grad()
def test_a_kl_autoencoder_has_a_sequence_of_latents():
    ours, batch = TOKENIZERS.build(titok_kl_config()).eval(), images()
    latents = ours.encode(batch)
    assert latents.layout == LatentLayout(Sequence(6), 4)
    assert latents.values.shape == (2, 4, 6)
    assert torch.equal(ours.decode(latents), ours(batch).reconstruction)
    assert ours.posterior(batch).kl().shape == (2,)


@torch.no_grad()
def test_the_released_reshape_takes_tokens_for_channels():
    encoder: TiTokEncoder = ENCODERS.build(dict(titok_config()['encoder'], legacy=True)).eval()
    tokens_BLC = torch.randn(2, 6, 16)
    encoder.norm_out.register_forward_hook(lambda module, inputs, output: tokens_BLC)
    numbers_BN = tokens_BLC.flatten(1)
    # Channel c of entry l is number 6 c + l of the image's 6 x 16.
    expected = torch.stack([encoder.proj_out(numbers_BN[:, entry::6]) for entry in range(6)], 2)
    torch.testing.assert_close(encoder(images()), expected)
    encoder.legacy = False
    torch.testing.assert_close(encoder(images()), encoder.proj_out(tokens_BLC).mT)


@torch.no_grad()
def test_the_network_sees_pixels_from_zero_to_one():
    encoder = ENCODERS.build(titok_config()['encoder'])
    black = encoder(torch.full((1, 3, 16, 24), -1.0))
    encoder.patch_embed.weight.zero_()
    assert torch.equal(black, encoder(images())[:1])


@torch.no_grad()
def test_the_pixels_of_a_patch_are_rows_columns_channels():
    head = DECODERS.build(dict(type='PatchHead', width=12, patch_size=2))
    for part in (head.to_pixels, head.conv_out):
        part.weight.zero_()
    head.to_pixels.weight[:, :, 0, 0] = torch.eye(12)
    head.conv_out.weight[:, :, 1, 1] = torch.eye(3)
    features = torch.rand(1, 12, 3, 4)
    pixels = (head(features) + 1) / 2
    assert pixels.shape == (1, 3, 6, 8)
    for row, column, channel in ((0, 0, 0), (0, 1, 2), (1, 0, 1), (1, 1, 2)):
        one = features[0, (row * 2 + column) * 3 + channel]
        torch.testing.assert_close(pixels[0, channel, row::2, column::2], one, atol=1e-6, rtol=0)


def test_published_sizes():
    head = dict(type='ProxyCodesHead', decoder=dict(type='MaskGITDecoder'))
    found = {}
    for name, sizes in dict(S=(512, 8, 8, 128), B=(768, 12, 12, 64), L=(1024, 24, 16, 32)).items():
        common: dict[str, Any] = dict(zip(('width', 'depth', 'heads', 'tokens'), sizes, strict=True))
        with torch.device('meta'):
            halves = TiTokEncoder(**common), TiTokDecoder(**common, head=head)
        found[name] = sum(p.numel() for half in halves for p in half.parameters()) / 1e6 + 4096 * 12 / 1e6
    assert found == pytest.approx(dict(S=83.7, B=204.8, L=641.1), abs=0.05)


def test_it_starts_as_published():
    encoder: Any = TiTokEncoder(width=64, depth=1, heads=2)
    attention, mlp = encoder.transformer.blocks[0].attn, encoder.transformer.blocks[0].mlp
    for layer in (attention.proj, mlp.fc1, mlp.fc2, encoder.patch_embed):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
    bound = (6 / (64 + 192)) ** 0.5  # Xavier's, from 64 to 192 channels
    assert bound * 0.98 < attention.qkv.weight.abs().max() <= bound
    assert encoder.latent_tokens.std().item() == pytest.approx(64**-0.5, rel=0.1)


@torch.no_grad()
def test_text_stands_behind_the_sequence():
    ours, batch, text = tokenizer(text_length=3, text_width=5), images(), torch.randn(2, 3, 5)
    codes = ours.encode(batch)
    plain = ours.decode(codes)
    with ours.decoder.guided_by(text):
        guided = ours.decode(codes)
    with ours.decoder.guided_by(text[:, :2]):
        assert not torch.allclose(ours.decode(codes), guided)
    assert not torch.allclose(plain, guided)
    assert torch.equal(ours.decode(codes), plain)
    with (
        pytest.raises(UserError, match=r'^TiTokDecoder: takes \(B, T, 5\) of at most 3 tokens, got \(2, 4, 5\)\.$'),
        ours.decoder.guided_by(torch.randn(2, 4, 5)),
    ):
        pass
    with (
        pytest.raises(UserError, match=r'^TiTokDecoder: takes no text, got \(2, 3, 5\)\.$'),
        tokenizer().decoder.guided_by(text),
    ):
        pass


def test_checkpointing_changes_no_gradient():
    ours, batch, found = tokenizer(head=PROXY_HEAD).train(), images(), []
    for checkpointing in (False, True):
        ours.encoder.transformer.checkpointing = ours.decoder.transformer.checkpointing = checkpointing
        ours.zero_grad()
        output = ours(batch)
        (F.mse_loss(output.reconstruction, batch) + sum(output.losses.values())).backward()
        found.append({name: p.grad for name, p in ours.named_parameters() if p.grad is not None})
    assert len(found[0]) > 50
    torch.testing.assert_close(*found)


def test_stage_1_learns_the_proxys_codes_and_starts_with_its_pixels(tmp_path: Path):
    task: Any = MODELS.build(stage_1_config(tmp_path))
    proxy, batch, head = Tokenizer.from_pretrained(tmp_path), images(), task.tokenizer.decoder.head
    assert torch.equal(head.codebook, proxy.quantizer.codebook())
    assert not [key for key in task.state_dict() if 'proxy' in key]
    task.train()
    output = task.tokenizer(batch)
    assert output.reconstruction.shape == (2, 16, 4, 6)  # logits
    losses = task.losses(batch, output)
    codes_BHW = proxy.encode(batch).unflatten()
    torch.testing.assert_close(losses['reconstruction'], F.cross_entropy(output.reconstruction, codes_BHW))
    torch.stack([*losses.values()]).sum().backward()
    untrained = {name for name, p in task.tokenizer.named_parameters() if p.grad is None}
    assert untrained == {f'decoder.head.{name}' for name in head.state_dict() if not name.startswith('to_logits')}
    # Logits that are sure of the proxy's codes give the proxy's reconstruction.
    task.eval()
    sure = nn.functional.one_hot(codes_BHW, 16).movedim(3, 1) * 1e4
    head.to_logits.register_forward_hook(lambda module, inputs, logits: sure)
    found, wanted = task.tokenizer(batch).reconstruction, proxy(batch).reconstruction
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_stage_2_trains_what_is_behind_the_codes():
    config = dict(type='TokenizerTask', tokenizer=titok_config(PROXY_HEAD), reconstruction_loss=dict(type='L2Loss'))
    task: Any = MODELS.build(config | dict(freeze=['encoder', 'quantizer'])).train()
    batch = images()
    output = task.tokenizer(batch)
    assert output.losses == {}
    task.losses(batch, output)['reconstruction'].backward()
    trained = {(name.split('.')[0], p.grad is not None) for name, p in task.tokenizer.named_parameters()}
    assert trained == {('encoder', False), ('quantizer', False), ('decoder', True)}


def test_stage_2_starts_from_the_tokenizer_of_stage_1(tmp_path: Path):
    first: Any = MODELS.build(stage_1_config(tmp_path / 'proxy'))
    torch.nn.init.normal_(first.tokenizer.encoder.latent_tokens)
    first.tokenizer.eval().save_pretrained(tmp_path / 'stage1')
    config = dict(type='TokenizerTask', tokenizer=titok_config(PROXY_HEAD), reconstruction_loss=dict(type='L2Loss'))
    second: Any = MODELS.build(config | dict(freeze=['encoder', 'quantizer']))
    start = find_start_weights(second, str(tmp_path / 'stage1'))
    start.load(second)
    assert 'decoder.head.stage is 1 there and 2 here' in start.summary
    batch = images()
    assert torch.equal(second.eval().tokenizer(batch).reconstruction, first.eval().tokenizer(batch).reconstruction)
    assert all(p.requires_grad for p in second.tokenizer.decoder.parameters())
    config['tokenizer'] = dict(
        titok_config(PROXY_HEAD), quantizer=dict(type='VectorQuantizer', codebook_size=8, code_dim=4)
    )
    assert '16 codes there, 8 here' in find_start_weights(MODELS.build(config), str(tmp_path / 'stage1')).summary
    config['tokenizer']['encoder'] = dict(config['tokenizer']['encoder'], tokens=5)
    with pytest.raises(UserError, match=r'encoder\.latent_tokens is .*; --fresh encoder trains these from scratch'):
        find_start_weights(MODELS.build(config), str(tmp_path / 'stage1'))


def test_a_task_that_does_not_train_needs_no_proxy(tmp_path: Path):
    config = stage_1_config(tmp_path)
    (tmp_path / 'config.json').unlink()
    with pytest.raises(UserError, match='is not a saved tokenizer'):
        MODELS.build(config)
    task = inference_task(config).eval()
    assert task.tokenizer(images()).reconstruction.shape == (2, 3, 16, 24)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(codebook_size=32),
            f'has {CodeLayout(Grid(4, 6), 32)}; the decoder predicts {CodeLayout(Grid(4, 6), 16)}.',
        ),
        (dict(levels=(1, 1)), f'has {CodeLayout(Grid(8, 12), 16)}; the decoder predicts {CodeLayout(Grid(4, 6), 16)}.'),
        (dict(quant_kernel=1), 'with a convolution between codes and decoder'),
        (dict(ch=16), 'shape'),
    ],
)
def test_proxy_codes_that_do_not_fit_are_refused(changes: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(UserError) as caught:
        MODELS.build(stage_1_config(tmp_path, **changes))
    assert message in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_loss_of_proxy_codes_needs_a_decoder_that_predicts_codes(tmp_path: Path):
    config = stage_1_config(tmp_path)
    for head in (None, PROXY_HEAD):  # that of stage 2 gives images
        with pytest.raises(UserError, match='TiTokDecoder predicts no codes; give it head='):
            MODELS.build(config | dict(tokenizer=titok_config(head)))


@pytest.mark.parametrize('half', [TiTokEncoder, TiTokDecoder])
def test_sides_that_patches_do_not_divide_are_refused(half: Any):
    message = rf'^{half.__name__}: image_size 250x256 is not a multiple of patch_size 16; change one of them\.$'
    with pytest.raises(UserError, match=message):
        half(image_size=(250, 256))


def test_images_of_another_size_and_sequences_of_another_length_are_refused():
    ours = tokenizer()
    with pytest.raises(
        UserError, match=r'^TiTokEncoder: its positions are learned for images of 16x24, got 24x16; crop'
    ):
        ours.encode(images().mT)
    with pytest.raises(UserError, match=r'^TiTokEncoder gives 6 tokens, not Sequence\(length=5\)\.$'):
        ours.check_layout(CodeLayout(Sequence(5), 16))
    with pytest.raises(UserError, match=r'^TiTokDecoder: made for 6 tokens, got 5\.$'):
        ours.decode_latent(torch.zeros(1, 4, 5))
    with pytest.raises(UserError, match=r'head multiplies the side by 2, patches have 4 pixels'):
        tokenizer(head=dict(PROXY_HEAD, decoder=maskgit_config(levels=(1, 1))['decoder']))
    with pytest.raises(UserError, match=r'codes have 4 channels, MaskGITDecoder takes 8; set code_dim'):
        tokenizer(head=dict(PROXY_HEAD, code_dim=4))


def test_the_scale_of_the_start_can_follow_a_narrow_width() -> None:
    sizes = dict(image_size=16, patch_size=4, width=64, depth=1, heads=2, tokens=4, z_channels=8)
    for std in (0.02, 0.125):
        halves = (TiTokEncoder(**sizes, init_std=std), TiTokDecoder(**sizes, init_std=std))
        for half in halves:
            weight = half.transformer.blocks[0].mlp.fc1.weight
            assert weight.std().item() == pytest.approx(std, rel=0.05)
