"""The shortcut at the start of GigaTok's training against its formula."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.losses import ShortcutLoss
from fvq_core.registry import LOSSES, TOKENIZERS
from fvq_core.tokenizer import Tokenizer

from ..tiny import random_images
from .autoencoder_matrix import tokenizers


def build(**options: Any) -> tuple[Tokenizer, ShortcutLoss]:
    torch.manual_seed(0)
    tokenizer: Tokenizer = TOKENIZERS.build(tokenizers(8, 12)['gigatok']).train()
    loss = LOSSES.build(dict(type='ShortcutLoss', **options))
    loss.attach(tokenizer)
    return tokenizer, loss


def expected(tokenizer: Tokenizer, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared differences of the reconstruction, of the shortcut, and of the features, in a pass without hooks."""
    features_BEHW = tokenizer.encoder.cnn(images)
    z_q_BDL = tokenizer.quantizer(tokenizer.encode_latent(images)).z_q_BDHW
    decoder = tokenizer.decoder
    memory_BLC = decoder.embed(decoder.from_latent(z_q_BDL.mT))
    grid_BNC = decoder.transformer(memory_BLC[:, :1].expand(-1, 24, -1), memory_BLC)
    given_BEHW = decoder.conv_out(grid_BNC.mT.unflatten(2, (4, 6)))
    pixels = [F.mse_loss(decoder.cnn(x), images) for x in (given_BEHW, features_BEHW)]
    return pixels[0], pixels[1], F.mse_loss(given_BEHW, features_BEHW.detach())


def test_its_terms_and_their_gradients_are_those_of_the_formula() -> None:
    tokenizer, loss = build(feature_weight=0.5, weight=2.0)
    twin, images = copy.deepcopy(tokenizer), random_images()
    found = loss(tokenizer(images).reconstruction, images)
    plain, shortcut, features = expected(build()[0], images)
    torch.testing.assert_close(found, 2 * (plain + shortcut + 0.5 * features))
    assert shortcut > 0 < features
    found.backward()
    twin.load_state_dict(tokenizer.state_dict())
    for hooks in (twin.encoder.cnn._forward_hooks, twin.decoder.cnn._forward_pre_hooks):
        hooks.clear()
    plain, shortcut, features = expected(twin, images)
    (2 * (plain + shortcut + 0.5 * features)).backward()
    for one, other in zip(tokenizer.parameters(), twin.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_a_perceptual_loss_sees_the_shortcut_too() -> None:
    tokenizer, loss = build(perceptual=dict(type='L1Loss', weight=3.0))
    images = random_images()
    found = loss(tokenizer(images).reconstruction, images)
    direct = 3 * F.l1_loss(tokenizer.decoder.cnn(tokenizer.encoder.cnn(images)), images)
    torch.testing.assert_close(found, sum(expected(tokenizer, images), direct))


@torch.no_grad()
def test_it_ends_after_its_calls_which_a_state_dict_keeps() -> None:
    tokenizer, loss = build(calls=2)
    images = random_images()

    def beyond_the_pixels(one: ShortcutLoss) -> float:
        reconstruction = tokenizer(images).reconstruction
        return (one(reconstruction, images) - F.mse_loss(reconstruction, images)).item()

    assert beyond_the_pixels(loss) > 1e-3
    resumed = LOSSES.build(dict(type='ShortcutLoss', calls=2))
    resumed.attach(tokenizer)
    resumed.load_state_dict(loss.state_dict())
    for each in (loss, resumed):
        assert beyond_the_pixels(each) > 1e-3
        assert [beyond_the_pixels(each) for _ in range(2)] == [0, 0]
        assert each.called == 2
        assert not each.seen


@torch.no_grad()
def test_only_training_passes_count() -> None:
    tokenizer, loss = build()
    images = random_images()
    tokenizer.eval()
    reconstruction = tokenizer(images).reconstruction
    torch.testing.assert_close(loss(reconstruction, images), F.mse_loss(reconstruction, images))
    assert loss.called == 0


def test_modules_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match=r"ShortcutLoss: Tokenizer has no module 'encoder\.cnm'.*encoder\.cnn"):
        build(start='encoder.cnm')
    tokenizer, loss = build(start='encoder.embed')
    images = random_images()
    with pytest.raises(
        UserError, match=r'encoder\.embed gives features \(2, 24, 16\), decoder\.cnn takes \(2, 8, 4, 6\)'
    ):
        loss(tokenizer(images).reconstruction, images)
