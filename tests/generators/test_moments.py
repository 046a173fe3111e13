"""The latents of a KL autoencoder in a store: mean and log variance of image and mirror image, drawn from again each epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fvq_core.autoencoders import KLAutoencoder
from fvq_core.codes import LatentLayout
from fvq_core.data.loader import build_loader
from fvq_core.errors import NonFiniteError, UserError
from fvq_core.images import from_uint8
from fvq_core.ops.diagonal_gaussian import DiagonalGaussian
from fvq_core.registry import TOKENIZERS
from fvq_generators.codes_store import CodesStore, open_codes
from fvq_generators.commands import extract_codes
from fvq_generators.data.codes_dataset import CodesDataset
from fvq_generators.extraction.images import PhotoParts
from fvq_generators.extraction.multi_crop import ImageWindows, parse_crops
from fvq_generators.extraction.shard_reader import encode_crops
from fvq_generators.fingerprint import tokenizer_hash
from tests.tiny import kl_config

SIDE = 12


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved KL autoencoder with latents of unequal scales."""
    torch.manual_seed(0)
    model = TOKENIZERS.build(kl_config(latent_scale=0.5, latent_shift=0.25))
    torch.nn.init.normal_(model.pre_quant.weight)
    return model.save_pretrained(tmp_path_factory.mktemp('kl') / 'autoencoder')


def extract(folder: Path, out: Path, *options: str) -> CodesStore:
    arguments = [str(folder), 'bundled', str(out), '--size', str(SIDE), '--workers', '0', '--device', 'cpu', *options]
    assert extract_codes.main(arguments) == 0
    return CodesStore(out)


@pytest.fixture(scope='module')
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> CodesStore:
    return extract(folder, tmp_path_factory.mktemp('store') / 'store')


@torch.no_grad()
def test_it_holds_the_moments_of_image_and_mirror_image_with_scale_and_hash(folder: Path, store: CodesStore):
    model = KLAutoencoder.from_pretrained(folder)
    assert (store.num_crops, store.manifest.crops['flip'], store.moments) == (2, True, True)
    assert isinstance(store.layout, LatentLayout)
    assert store.layout == model.layout(SIDE, SIDE)
    assert (store.layout.scale, store.layout.shift) == (0.5, 0.25)
    assert store.tokenizer_hash == tokenizer_hash(model)
    (window,) = ImageWindows(PhotoParts(), parse_crops(['center'], SIDE))[3]['windows']
    both = torch.stack([window, window.flip(-1)])
    found, _ = store.image(3)
    assert (found.shape, found.dtype) == ((2, 8, SIDE // 2, SIDE // 2), np.dtype(np.float32))
    torch.testing.assert_close(torch.from_numpy(np.array(found)), model.posterior(from_uint8(both)).moments())
    store.verify()


def test_a_latent_is_drawn_from_its_moments_and_without_a_source_it_is_the_mean(store: CodesStore):
    mean, log_variance = torch.from_numpy(np.array(store.image(2)[0][1])).chunk(2)
    assert torch.equal(store.latents(2, 1), mean)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(5))
    drawn = store.latents(2, 1, torch.Generator().manual_seed(5))
    torch.testing.assert_close(drawn, mean + (log_variance / 2).exp() * noise)


def test_each_epoch_draws_anew_and_the_same_again_after_a_resumption(store: CodesStore):
    loader = dict(dataset=dict(type='CodesDataset', root=str(store.root)), batch_size=5, num_workers=0)

    def epochs(workers: int) -> list[torch.Tensor]:
        batches = iter(build_loader({**loader, 'num_workers': workers}, 0, train=True))
        return [next(batches)['latents'] for _ in range(6)]  # three epochs of ten images

    one, again = epochs(0), epochs(0)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    dataset = CodesDataset(str(store.root))
    draws = torch.stack([dataset[(4, position)]['latents'] for position in range(400)])
    assert len(torch.unique(draws.flatten(1), dim=0)) == 400
    means = torch.stack([store.latents(4, crop) for crop in range(2)])
    variance = DiagonalGaussian.from_moments(torch.from_numpy(np.array(store.image(4)[0]))).log_variance.exp()
    # Of a mixture of two Gaussians: the mean of their means, and within 5 standard errors.
    expected = means.mean(0)
    deviation = (variance.mean(0) + means.var(0, correction=0)).sqrt()
    assert ((draws.mean(0) - expected).abs() < 5 * deviation / 20).all()
    assert torch.equal(dataset[4]['latents'], dataset[4]['latents'])  # in an evaluation


def test_crops_can_be_chosen_as_for_codes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert extract(folder, tmp_path / 'center', '--crops', 'center').num_crops == 1
    assert extract(folder, tmp_path / 'ten', '--crops', 'ten').num_crops == 10
    assert 'x 10 crops x mean and log variance of a latent (4, 6, 6), as float32' in capsys.readouterr().out


def test_a_store_continues_and_a_latent_store_of_before_is_not_continued_with_moments(folder: Path, tmp_path: Path):
    one = extract(folder, tmp_path / 'one', '--shard-size', '4')
    again = extract(folder, tmp_path / 'one', '--shard-size', '4')
    assert again.manifest == one.manifest
    document = json.loads((tmp_path / 'one/manifest.json').read_text())
    assert document.pop('moments') is True
    (tmp_path / 'one/manifest.json').write_text(json.dumps(document))
    arguments = [str(folder), 'bundled', str(tmp_path / 'one'), '--size', str(SIDE), '--shard-size', '4']
    assert extract_codes.main([*arguments, '--workers', '0', '--device', 'cpu']) == 2
    with pytest.raises(UserError, match=r'holds float32 of shape \(4, 2, 8, 6, 6\), expected .*\(4, 2, 4, 6, 6\)'):
        CodesStore(tmp_path / 'one').latents(0, 0)


@pytest.mark.parametrize('moments', ['yes', 1, None])
def test_a_manifest_that_says_something_else_of_moments_is_damaged(store: CodesStore, tmp_path: Path, moments: Any):
    document = json.loads((store.root / 'manifest.json').read_text())
    (tmp_path / 'manifest.json').write_text(json.dumps({**document, 'moments': moments}))
    with pytest.raises(
        UserError, match=r"manifest\.json is damaged \(TypeError: 'moments' is .*expected true or false"
    ):
        open_codes(tmp_path)


def test_moments_that_are_not_finite_are_refused(folder: Path):
    model = KLAutoencoder.from_pretrained(folder)
    torch.nn.init.constant_(model.pre_quant.bias[4:], float('nan'))  # of the log variance only
    with pytest.raises(NonFiniteError, match='KLAutoencoder: the latents'):
        list(encode_crops(model, torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8), 2))
