"""A linear probe: a fit that is right, features that see latents and codes, bad input in a line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from fvq_core.errors import UserError
from fvq_eval.analysis.linear_probe import ProbeSet, fit, pooled, probe, probe_set, split, top
from fvq_eval.commands.probe import main
from fvq_eval.samples.open_samples import open_samples
from tests.tiny import kl_config, tiny_tokenizer


def blobs(images: int, classes: int = 3, apart: float = 8.0) -> ProbeSet:
    """Classes around points of two features; a third kind of features knows nothing."""
    labels_N = torch.arange(images) % classes
    around_NF = apart * F.one_hot(labels_N, classes).float()
    return ProbeSet({'latents': around_NF + torch.randn(images, classes), 'codes': torch.randn(images, 2)}, labels_N)


def test_the_fit_has_no_gradient_left() -> None:
    data = blobs(200, apart=1.0)
    x_NF, decay = data.features['latents'], 1e-2
    weights = fit(x_NF, data.labels_N, 3, decay).double().requires_grad_()
    logits_NC = x_NF.double() @ weights[:-1] + weights[-1]
    (F.cross_entropy(logits_NC, data.labels_N) + decay / 2 * weights[:-1].square().sum()).backward()
    assert weights.grad is not None
    assert weights.grad.abs().max() < 1e-4


def test_classes_that_are_apart_are_told_apart_and_noise_is_chance() -> None:
    values = probe(blobs(300), blobs(600))
    assert values['probe_latents'].value > 99
    assert abs(values['probe_codes'].value - 100 / 3) < 10  # five deviations of 600 draws
    assert values['probe_latents'].samples == 600
    assert 'logistic regression on 300 images of 3 classes' in values['probe_latents'].protocol


def test_labels_may_be_any_numbers_and_ten_classes_have_a_top_five() -> None:
    train, test = blobs(400, classes=10, apart=2.0), blobs(400, classes=10, apart=2.0)
    plain = probe(train, test)
    moved = probe(*(ProbeSet(each.features, 7 * each.labels_N + 100) for each in (train, test)))
    assert plain == moved
    assert plain['probe_latents'].value < plain['probe_latents_top5'].value <= 100


def test_top_counts_what_is_among_the_best() -> None:
    weights = torch.cat([torch.eye(3), torch.zeros(1, 3)])
    scores = torch.tensor([[3.0, 2, 1], [3, 1, 2]])
    assert top(weights, scores, torch.tensor([0, 2])) == 50
    assert top(weights, scores, torch.tensor([0, 2]), 2) == 100


def test_features_are_means_of_latents_and_of_their_codes(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    images = colours(tmp_path)
    found = probe_set(tokenizer, open_samples(str(images)), grid=2, batch_size=3)
    samples = open_samples(str(images))
    pixels = torch.cat(list(samples.read(range(samples.blocks)))).float() / 127.5 - 1
    with torch.no_grad():
        z_BDHW = tokenizer.encode_latent(pixels)
        codes = tokenizer.quantizer(z_BDHW).z_q_BDHW
    torch.testing.assert_close(found.features['latents'], pooled(z_BDHW, 2))
    torch.testing.assert_close(found.features['codes'], pooled(codes, 2))
    assert found.features['codes'].shape == (12, 8 * 4)
    assert pooled(torch.arange(6.0).view(1, 1, 6), 2).tolist() == [[1.0, 4.0]]
    assert found.labels_N.tolist() == [0] * 6 + [1] * 6


def colours(tmp_path: Path) -> Path:
    """Red and blue images, six of each."""
    rng = np.random.default_rng(0)
    for name, channel in (('blue', 2), ('red', 0)):
        (tmp_path / 'images' / name).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 60, (8, 8, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(tmp_path / 'images' / name / f'{number}.png')
    return tmp_path / 'images'


@pytest.mark.parametrize('kind', ['tokenizer', 'continuous'])
def test_the_command_prints_and_writes_what_it_found(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fvq_core.registry import TOKENIZERS

    model = tiny_tokenizer() if kind == 'tokenizer' else TOKENIZERS.build(kl_config()).eval()
    (model.fold() if kind == 'tokenizer' else model).save_pretrained(tmp_path / 'model')
    images, out = str(colours(tmp_path)), tmp_path / 'probe.json'
    assert main([str(tmp_path / 'model'), images, '--test', images, '--out', str(out)]) == 0
    metrics = json.loads(out.read_text())['metrics']
    assert set(metrics) == ({'probe_latents', 'probe_codes'} if kind == 'tokenizer' else {'probe_latents'})
    assert metrics['probe_latents']['value'] == 100
    assert metrics['probe_latents']['weights'] == str(tmp_path / 'model')
    assert 'linear probe of the latents' in capsys.readouterr().out


def test_a_part_of_one_set_is_held_out_once() -> None:
    whole = ProbeSet({'latents': torch.arange(10.0)[:, None]}, torch.arange(10))
    train, test = split(whole, 0.2, seed=3)
    assert sorted([*train.labels_N.tolist(), *test.labels_N.tolist()]) == list(range(10))
    assert len(test.labels_N) == 2
    assert torch.equal(test.features['latents'][:, 0].long(), test.labels_N)


@pytest.mark.parametrize(
    ('labels', 'said'), [([0, 0, 0, 0], '1 in training'), ([0, 1, 0, 1], '1 that are only in the test set')]
)
def test_classes_that_do_not_fit(labels: list[int], said: str) -> None:
    train = ProbeSet({'latents': torch.randn(4, 2)}, torch.tensor(labels))
    test = ProbeSet({'latents': torch.randn(4, 2)}, torch.tensor([0, 0, 0, 2 if 1 in labels else 0]))
    with pytest.raises(UserError, match=said):
        probe(train, test)


@pytest.mark.parametrize(
    ('options', 'said'),
    [(['--held-out', '1'], 'between 0 and 1'), (['--grid', '0'], '--grid'), (['--crop', '0'], '--crop')],
)
def test_options_that_cannot_be(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['nowhere', 'bundled', *options]) == 2
    assert said in capsys.readouterr().err
