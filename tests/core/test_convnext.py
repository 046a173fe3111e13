"""ConvNeXt's logits as a perceptual loss: its formula and its weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torchvision.models import convnext_small
from torchvision.transforms.v2.functional import normalize

from fvq_core.errors import UserError
from fvq_core.losses import ConvNeXtLoss, SumLoss
from fvq_core.losses.perceptual import MissingWeightsError
from fvq_core.losses.perceptual.convnext import FILE, ConvNeXtLogits

from ..tiny import random_images


@pytest.fixture(scope='module')
def loss() -> ConvNeXtLoss:
    """With random weights, built once; tests leave it as it is."""
    return ConvNeXtLoss(weight=0.5, random=True)


@pytest.fixture
def network(loss: ConvNeXtLoss) -> Any:
    return loss.network


def test_it_is_the_squared_difference_of_torchvisions_logits(network: ConvNeXtLogits):
    package = convnext_small().eval()
    package.load_state_dict(network.net.state_dict())
    one, other = random_images(1, 40, 56).requires_grad_(), random_images(1, 40, 56)
    logits = [
        package(
            normalize(
                F.interpolate(x / 2 + 0.5, (224, 224), mode='bilinear', antialias=True),
                [0.485, 0.456, 0.406],
                [0.229, 0.224, 0.225],
            )
        )
        for x in (one, other)
    ]
    found, wanted = network(one, other).sum(), F.mse_loss(*logits)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=0)
    assert found > 0
    gradients = [torch.autograd.grad(value, one)[0] for value in (found, wanted)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6 * gradients[1].abs().max().item())


def test_it_is_frozen_and_out_of_the_module_tree(loss: ConvNeXtLoss, caplog: pytest.LogCaptureFixture):
    loss.train()
    assert not loss.network.net.training
    assert list(loss.parameters()) == list(loss.state_dict()) == []
    assert not any(p.requires_grad for p in loss.network.parameters())
    with torch.device('meta'), caplog.at_level(logging.WARNING, 'fvq'):
        there = ConvNeXtLoss()  # no weights are needed there
    assert there.network.on_meta
    assert there.to(torch.float64).network.net.classifier[2].weight.dtype == torch.float64
    assert caplog.text == ''


@torch.no_grad()
def test_it_is_the_weighted_mean_of_a_batch(loss: ConvNeXtLoss, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loss.network, 'logits', lambda images: images.flatten(1)[:, :5])
    one, other = random_images(2, 32, 32), random_images(2, 32, 32)
    torch.testing.assert_close(loss(one, other), 0.5 * F.mse_loss(one.flatten(1)[:, :5], other.flatten(1)[:, :5]))


def test_missing_and_other_weights_are_refused(network: ConvNeXtLogits, tmp_path: Path):
    with pytest.raises(UserError, match='two batches of RGB images of equal size'):
        network(random_images(1, 32, 32), random_images(1, 32, 40))
    with pytest.raises(MissingWeightsError, match=rf'ConvNeXtLogits: .*{FILE} is at .*model\.perceptual_loss=None'):
        ConvNeXtLoss(weights=tmp_path / FILE)
    torch.save({'x': torch.zeros(1)}, tmp_path / FILE)
    with pytest.raises(UserError, match=r'ConvNeXtLogits: the SHA-256 of .* starts with'):
        ConvNeXtLoss(weights=tmp_path)
    with pytest.raises(UserError, match='contradicts'):
        ConvNeXtLoss(weights=tmp_path, random=True)


def test_trained_weights_are_read_from_a_file(network: ConvNeXtLogits, tmp_path: Path):
    torch.save(network.net.state_dict(), tmp_path / FILE)
    found = ConvNeXtLogits(weights=tmp_path, check_hash=False)
    assert 'not the published' in found.provenance
    assert all(torch.equal(a, b) for a, b in zip(found.net.parameters(), network.net.parameters(), strict=True))


def test_a_sum_of_nothing_is_refused():
    with pytest.raises(UserError, match='SumLoss: expected one loss or more'):
        SumLoss([])
