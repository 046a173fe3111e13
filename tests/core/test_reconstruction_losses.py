"""Pixel losses against closed forms and torch's own distributions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Laplace, SigmoidTransform, TransformedDistribution

from fvq_core.errors import UserError
from fvq_core.losses import LogitLaplaceLoss
from fvq_core.registry import LOSSES

from ..tiny import random_images


def build(type_: str, **options: Any) -> Any:
    return LOSSES.build(dict(type=type_, **options))


def density(location: Tensor, scale: float) -> TransformedDistribution:
    """torch's logit-Laplace distribution."""
    return TransformedDistribution(Laplace(location, scale), [SigmoidTransform()], validate_args=False)


@pytest.mark.parametrize('name', ['L1Loss', 'L2Loss', 'LogitLaplaceLoss'])
def test_the_weight_scales_the_loss(name: str) -> None:
    pair = random_images(), random_images()
    torch.testing.assert_close(build(name, weight=3.0)(*pair), 3 * build(name)(*pair))


def test_l1_and_l2_are_means_over_everything() -> None:
    reconstruction, images = torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 2, 2)
    images[0, 0, 0, 0] = 0.5
    assert build('L1Loss')(reconstruction, images).item() == pytest.approx(0.5 / 24)
    assert build('L2Loss')(reconstruction, images).item() == pytest.approx(0.25 / 24)
    both = build('SumLoss', losses=[dict(type='L2Loss', weight=3.0), dict(type='L1Loss')])
    assert both(reconstruction, images).item() == pytest.approx(3 * 0.25 / 24 + 0.5 / 24)


@pytest.mark.parametrize(('eps', 'scale'), [(0.1, 1.0), (0.1, 0.3), (0.02, 2.0)])
def test_logit_laplace_is_the_negative_log_likelihood_of_torchs_distribution(eps: float, scale: float) -> None:
    reconstruction, images = random_images(), random_images()
    t, median = ((1 - 2 * eps) * (pixels + 1) / 2 + eps for pixels in (images, reconstruction))
    expected = -density(torch.logit(median), scale).log_prob(t).mean()
    torch.testing.assert_close(build('LogitLaplaceLoss', eps=eps, scale=scale)(reconstruction, images), expected)


@pytest.mark.parametrize('pixel', [-1.3, -1.0, 0.2, 1.0, 1.3])
def test_the_likelihood_integrates_to_one_wherever_the_reconstruction_lies(pixel: float) -> None:
    loss = LogitLaplaceLoss(scale=0.5)
    u = torch.linspace(-12, 12, 2401, dtype=torch.float64)  # u = logit t, so dt = t (1 - t) du
    t = torch.sigmoid(u)
    images = ((t - loss.eps) / (0.5 - loss.eps) - 1).float()  # those in the tails lie outside of [-1, 1]
    likelihood = torch.stack([loss(torch.tensor(pixel), image) for image in images]).neg().exp()
    assert torch.trapezoid(likelihood * t * (1 - t), u).item() == pytest.approx(1.0, abs=2e-3)


def test_a_perfect_reconstruction_is_the_best_and_the_gradient_pulls_back_from_outside() -> None:
    loss, image = LogitLaplaceLoss(), torch.full((1, 3, 1, 1), 0.6)
    candidates = torch.linspace(-2, 2, 41)
    values = torch.stack([loss(value.expand(1, 3, 1, 1), image) for value in candidates])
    assert candidates[values.argmin()].item() == pytest.approx(0.6)
    outside = torch.tensor([-4.0, -1.2, 1.2, 4.0]).view(4, 1, 1, 1).expand(4, 3, 1, 1).clone().requires_grad_()
    loss(outside, image.expand(4, 3, 1, 1)).backward()
    assert outside.grad[:, 0, 0, 0].sign().tolist() == [-1, -1, 1, 1]


def test_the_location_is_smooth_where_its_tangent_takes_over() -> None:
    pixels = torch.tensor([-1 - 1e-3, -1 + 1e-3, 1 - 1e-3, 1 + 1e-3], dtype=torch.float64, requires_grad=True)
    location = LogitLaplaceLoss().location(pixels)
    (slope,) = torch.autograd.grad(location.sum(), pixels)
    torch.testing.assert_close(slope, torch.full_like(slope, 0.4 / 0.09), rtol=5e-3, atol=0)
    assert location[2].item() == pytest.approx(math.log(9), abs=0.01)


@pytest.mark.parametrize(
    ('option', 'said'), [(dict(eps=0.5), 'eps must lie'), (dict(scale=0.0), 'scale must be above 0')]
)
def test_a_likelihood_that_does_not_exist_is_refused(option: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build('LogitLaplaceLoss', **option)
