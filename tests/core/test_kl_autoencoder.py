"""KL autoencoders: the distribution of latents, what training adds, and the published sizes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from fvq_core.autoencoder import Autoencoder
from fvq_core.autoencoders import KLAutoencoder
from fvq_core.codes import Grid, LatentLayout
from fvq_core.errors import UserError
from fvq_core.ops.diagonal_gaussian import DiagonalGaussian
from fvq_core.registry import LOSSES, MODELS, TOKENIZERS
from fvq_generators.fingerprint import tokenizer_hash
from tests.tiny import HALF, kl_config, random_images, tiny_tokenizer


def autoencoder(**changes: Any) -> KLAutoencoder:
    torch.manual_seed(0)
    return TOKENIZERS.build(kl_config(**changes))


def gaussian() -> DiagonalGaussian:
    return DiagonalGaussian.from_moments(torch.randn(2, 6, 5, 4))


def test_a_diagonal_gaussian_is_that_of_torch():
    ours = gaussian()
    theirs = Normal(ours.mean.double(), (0.5 * ours.log_variance.double()).exp())
    kl = kl_divergence(theirs, Normal(0.0, 1.0)).sum((1, 2, 3))
    torch.testing.assert_close(ours.kl().double(), kl, rtol=1e-5, atol=1e-5)
    noise = torch.randn_like(ours.mean)
    values = ours.sample(noise)
    torch.testing.assert_close(values.double(), theirs.mean + theirs.stddev * noise, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.nll(values).double(), -theirs.log_prob(values.double()).sum((1, 2, 3)))
    assert torch.equal(ours.mode(), ours.mean)


def test_moments_are_what_a_gaussian_is_made_of_and_log_variances_are_clipped():
    ours = gaussian()
    again = DiagonalGaussian.from_moments(ours.moments())
    assert torch.equal(again.mean, ours.mean)
    assert torch.equal(again.log_variance, ours.log_variance)
    extreme = torch.tensor([[0.0, 0.0, 0.0, -100.0, 5.0, 100.0]])
    assert DiagonalGaussian.from_moments(extreme).log_variance.tolist() == [[-30.0, 5.0, 20.0]]


def test_draws_have_the_mean_and_the_variance_that_they_are_asked_for():
    torch.manual_seed(0)
    found = DiagonalGaussian(torch.full((1, 40_000), 3.0), torch.full((1, 40_000), math.log(0.25)))
    drawn = found.sample()
    assert abs(drawn.mean() - 3) < 0.02
    assert abs(drawn.var() - 0.25) < 0.01


def test_training_draws_and_eval_does_not():
    model, images = autoencoder(), random_images()
    one, other = model(images), model(images)
    assert not torch.equal(one.reconstruction, other.reconstruction)
    assert one.latent_abs_max is not None
    model.eval()
    with torch.no_grad():
        output = model(images)
        assert torch.equal(output.reconstruction, model.decode_latent(model.posterior(images).mean))
        assert torch.equal(output.reconstruction, model.decode(model.encode(images)))
    assert output.losses == {}
    assert output.codes is None


def test_the_kl_term_is_summed_over_an_image_and_averaged_over_the_batch():
    model, images = autoencoder(kl_weight=0.5), random_images()
    expected = 0.5 * sum(model.posterior(image[None]).kl().item() for image in images) / len(images)
    assert model(images).losses['kl'].item() == pytest.approx(expected, rel=1e-5)


def test_training_reaches_every_weight():
    model, images = autoencoder(kl_weight=1e-3), random_images()
    output = model(images)
    (F.l1_loss(output.reconstruction, images) + output.losses['kl']).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_a_constant_log_variance_takes_the_place_of_the_encoders():
    model = autoencoder(log_variance=1.0)
    posterior = model.posterior(random_images())
    assert posterior.mean.shape == posterior.log_variance.shape == (2, 4, 4, 6)
    assert set(posterior.log_variance.flatten().tolist()) == {1.0}


@torch.no_grad()
def test_moments_are_float32_in_a_half_precision_model():
    model = autoencoder().to(torch.bfloat16).eval()
    posterior = model.posterior(random_images())
    assert posterior.mean.dtype == posterior.log_variance.dtype == posterior.kl().dtype == torch.float32
    assert model(random_images()).reconstruction.dtype == torch.bfloat16


@torch.no_grad()
@pytest.mark.parametrize('changes', [{}, dict(log_variance=1.0), dict(quant_kernel=3), dict(latent_channels=6)])
def test_saved_and_loaded_it_is_the_same_and_folding_changes_nothing(changes: dict[str, Any], tmp_path: Path):
    model, images = autoencoder(latent_scale=0.5, latent_shift=0.25, **changes).eval(), random_images(1, 8, 12)
    model.save_pretrained(tmp_path / 'saved')
    loaded = KLAutoencoder.from_pretrained(tmp_path / 'saved')
    assert loaded.layout(8, 12) == LatentLayout(Grid(4, 6), model.latent_channels, 0.5, 0.25)
    for other in (loaded, model.fold(), Autoencoder.from_pretrained(tmp_path / 'saved')):
        assert torch.equal(other.encode(images).values, model.encode(images).values)
        assert torch.equal(other(images).reconstruction, model(images).reconstruction)
    assert tokenizer_hash(loaded) == tokenizer_hash(model)
    other = autoencoder(**changes).eval()  # the same weights with another scale mean other latents for a generator
    assert tokenizer_hash(other) != tokenizer_hash(model)


@torch.no_grad()
def test_without_quant_convolutions_the_halves_of_the_features_are_the_moments():
    model = autoencoder(quant_kernel=0)
    images = random_images()
    mean, log_variance = model.encoder(images).chunk(2, 1)
    posterior = model.posterior(images)
    assert torch.equal(posterior.mean, mean)
    assert torch.equal(posterior.log_variance, log_variance)


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        (dict(latent_channels=0), 'KLAutoencoder: latent_channels must be 1 or more, got 0'),
        (dict(kl_weight=-1.0), 'kl_weight must be 0 or more, got -1.0'),
        (dict(kl_weight=math.nan), 'kl_weight must be 0 or more, got nan'),
        (dict(latent_scale=0.0), 'KLAutoencoder: scale is 0'),
        (dict(latent_shift=math.inf), 'KLAutoencoder: shift is a finite number, got inf'),
        (dict(log_variance=-40.0), 'log_variance must lie from -30 to 20, got -40.0'),
        (dict(quant_kernel=0, latent_channels=3), 'quant_kernel 0 cannot lead from 8 to 6 channels'),
        (dict(decoder=dict(type='VQGANDecoder', **{**HALF, 'ch_mult': (1, 2, 2)})), 'the same number of levels'),
    ],
)
def test_arguments_that_cannot_be_are_refused(changes: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said):
        autoencoder(**changes)


def test_only_a_variational_autoencoder_has_a_posterior():
    tokenizer = tiny_tokenizer()
    assert autoencoder().variational
    assert not tokenizer.variational
    with pytest.raises(UserError, match=r'Tokenizer has no posterior.*use encode'):
        tokenizer.posterior(random_images())


def test_the_likelihood_is_the_releases_formula_value_by_value():
    torch.manual_seed(0)
    images, reconstruction = random_images(3), random_images(3).requires_grad_()
    distances_B = torch.rand(3)  # as a perceptual network gives them
    s = 0.3
    r = (images - reconstruction).abs() + distances_B[:, None, None, None]
    expected = (r / math.exp(s) + s).sum() / 3
    terms = {'reconstruction': (images - reconstruction).abs().mean(), 'perceptual': distances_B.mean()}
    found = LOSSES.build(dict(type='NLLLoss', log_variance=s))(terms, images)
    torch.testing.assert_close(sum(found.values()), expected)
    one, other = (torch.autograd.grad(value, reconstruction)[0] for value in (sum(found.values()), expected))
    torch.testing.assert_close(one, other)
    with pytest.raises(UserError, match='NLLLoss: log_variance is a finite number, got inf'):
        LOSSES.build(dict(type='NLLLoss', log_variance=math.inf))


def test_a_task_trains_by_the_likelihood_and_its_log_variance_is_not_saved():
    torch.manual_seed(0)
    tokenizer, pixels = kl_config(kl_weight=0.5), dict(reconstruction_loss=dict(type='L1Loss'))
    plain = MODELS.build(dict(type='TokenizerTask', tokenizer=tokenizer, **pixels))
    task = MODELS.build(
        dict(type='TokenizerTask', tokenizer=tokenizer, **pixels, nll=dict(type='NLLLoss', log_variance=0.5))
    )
    images = random_images()
    out = task.tokenizer(images)
    means, found = plain.losses(images, out), task.losses(images, out)
    N = 3 * 8 * 12
    torch.testing.assert_close(found['reconstruction'], N * means['reconstruction'] / math.exp(0.5))
    assert found['log_variance'].item() == pytest.approx(0.5 * N)
    assert torch.equal(found['kl'], means['kl'])  # a sum over an image already
    assert plain.state_dict().keys() == task.state_dict().keys()


def test_compiled_it_gives_the_same_losses_and_gradients():
    images, found = random_images(), []
    for compiled in (False, True):
        model = autoencoder(log_variance=-30.0)  # a draw is the mean, to 3e-7
        if compiled:
            model.compile(backend='aot_eager')
        output = model(images)
        (F.l1_loss(output.reconstruction, images) + output.losses['kl']).backward()
        found.append([output.reconstruction, *(p.grad for p in model.parameters() if p.grad is not None)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('ch_mult', 'channels', 'attention', 'millions'),
    [
        ((1, 1, 2, 2, 4), 16, (True, True), (28.3, 41.3, 69.6)),  # latent diffusion's kl-f16
        ((1, 1, 2, 2, 4), 16, (True, []), (28.3, 38.2, 66.5)),  # MAR's, whose decoder lacks attention in its levels
        ((1, 2, 4, 4), 4, ([], []), (34.2, 49.5, 83.7)),  # Stable Diffusion's kl-f8
    ],
)
def test_published_sizes(ch_mult: tuple[int, ...], channels: int, attention: Any, millions: tuple[float, ...]):
    with torch.device('meta'):
        model = autoencoder(
            encoder=dict(type='VQGANEncoder', ch_mult=ch_mult, z_channels=2 * channels, attention=attention[0]),
            decoder=dict(type='VQGANDecoder', ch_mult=ch_mult, z_channels=channels, attention=attention[1]),
            latent_channels=channels,
        )
    parts = (model.encoder, model.decoder, model)
    assert tuple(round(sum(p.numel() for p in part.parameters()) / 1e6, 1) for part in parts) == millions
