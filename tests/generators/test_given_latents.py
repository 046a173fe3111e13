"""MAR keeps given latents: to the bit, as if it had drawn them, through the command too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fvq_core.codes import Grid, LatentLayout, Latents
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS, TOKENIZERS
from fvq_generators import MAR, mar
from fvq_generators.commands import sample
from fvq_generators.given_latents import kept_last, kept_patches
from fvq_generators.image_generator import ImageGenerator
from fvq_generators.patches import Patches

LAYOUT = LatentLayout(Grid(4, 4), 3, scale=0.5)


def tiny_mar(patch_size: int = 1, layout: LatentLayout = LAYOUT) -> MAR:
    torch.manual_seed(0)
    config: dict[str, Any] = dict(dim=16, depth=1, heads=2, num_classes=5, steps=20, head_depth=1, head_width=16)
    model: MAR = GENERATORS.build(
        dict(type='MAR', layout=layout.to_dict(), patch_size=patch_size, class_tokens=2, **config)
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def some_latents(count: int = 2) -> Latents:
    return Latents(torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(1)), LAYOUT)


def keeping(*positions: int, count: int = 2) -> torch.Tensor:
    keep_BL = torch.zeros(count, 16, dtype=torch.bool)
    keep_BL[:, list(positions)] = True
    return keep_BL


def test_what_is_kept_stays_to_the_bit_and_the_others_are_drawn_from_it() -> None:
    model, given, keep_BL = tiny_mar(), some_latents(), keeping(0, 1, 2, 5, 15)
    options: dict[str, Any] = dict(seeds=[1, 2], steps=6, diffusion_steps=3, cfg_scale=2.0)
    classes = torch.tensor([0, 3])
    drawn = model.sample(classes, given=given, keep_BL=keep_BL, **options).values.flatten(2)
    kept = keep_BL[:, None].expand_as(drawn)
    assert torch.equal(drawn[kept], given.values.flatten(2)[kept])
    assert (drawn[~kept] != given.values.flatten(2)[~kept]).all()
    other = Latents(given.values + 1, LAYOUT)
    moved = model.sample(classes, given=other, keep_BL=keep_BL, **options).values.flatten(2)
    # In whole positions: a single value may round to the same number.
    assert (moved != drawn).any(1)[~keep_BL].all(), 'they look at what is kept'
    hidden = Latents(torch.where(kept.view_as(given.values), given.values, 9.0), LAYOUT)
    again = model.sample(classes, given=hidden, keep_BL=keep_BL, **options).values.flatten(2)
    assert torch.equal(again, drawn), 'and not at what is not'
    alone = model.sample(classes[1:], given=given[1:2], keep_BL=keep_BL[1:], **{**options, 'seeds': [2]})
    torch.testing.assert_close(alone.values.flatten(2), drawn[1:], rtol=1e-4, atol=1e-4)


def test_what_was_drawn_first_and_is_given_leads_to_the_same_image(monkeypatch: pytest.MonkeyPatch) -> None:
    model, order_BL = tiny_mar(), torch.randperm(16, generator=torch.Generator().manual_seed(3))[None]
    noise = torch.randn(16, 4, 3, generator=torch.Generator().manual_seed(4))
    sampling = model.Sampling(steps=16, diffusion_steps=3, cfg_scale=2.0)

    def draw(**given: Any) -> torch.Tensor:
        return model.draw(torch.tensor([1]), order_BL, lambda positions_BN: noise[positions_BN], sampling, **given)

    with torch.no_grad():
        whole = draw()
        resumed = draw(tokens_BLC=whole.masked_fill(~last(order_BL, 7)[..., None], 9.0), kept=7)
    torch.testing.assert_close(resumed, whole, rtol=1e-5, atol=1e-5)
    assert mar.hidden_counts(9, 9) == mar.hidden_counts(16, 16)[7:], 'one token a pass: the passes that are left'


def last(order_BL: torch.Tensor, count: int) -> torch.Tensor:
    return torch.zeros_like(order_BL, dtype=torch.bool).scatter_(1, order_BL[:, -count:], True)


def test_images_may_keep_different_numbers_of_tokens() -> None:
    model, given = tiny_mar(), some_latents(3)
    keep_BL = torch.zeros(3, 16, dtype=torch.bool)
    keep_BL[0, :3] = keep_BL[1] = True
    options: dict[str, Any] = dict(steps=4, diffusion_steps=2)
    drawn = model.sample(torch.tensor([0, 1, 2]), seeds=[1, 2, 3], given=given, keep_BL=keep_BL, **options).values
    assert torch.equal(drawn[1], given.values[1]), 'all of it is kept'
    free = model.sample(torch.tensor([2]), seeds=[3], **options).values
    torch.testing.assert_close(drawn[2:], free)
    assert torch.equal(drawn[0].flatten(1)[:, :3], given.values[0].flatten(1)[:, :3])


def test_a_token_of_several_positions_is_kept_if_all_are() -> None:
    patching = Patches('x', LAYOUT, 2)
    keep_BL = keeping(0, 1, 4, 5, 2, 3, 6, count=1)
    assert kept_patches(patching, keep_BL).tolist() == [[True, False, False, False]]
    model, given = tiny_mar(patch_size=2), some_latents(1)
    drawn = model.sample(torch.tensor([0]), seeds=[1], given=given, keep_BL=keep_BL, diffusion_steps=2).values
    same = (drawn == given.values).all(1)[0]
    assert same.nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_kept_positions_move_to_the_end_of_an_order() -> None:
    order_BL, kept_BL = torch.tensor([[3, 0, 2, 1]]), torch.tensor([[True, False, False, True]])
    assert kept_last(order_BL, kept_BL).tolist() == [[2, 1, 3, 0]]


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(keep_BL=keeping(0)), 'MAR: expected Latents, got NoneType'),
        (dict(given=some_latents()), r'keep_BL is a bool tensor \(2, 16\), .* got NoneType'),
        (dict(given=some_latents(), keep_BL=keeping(0).int()), r'got torch.int32 \(2, 16\)'),
        (dict(given=some_latents(1), keep_BL=keeping(0)), 'expected given latents of 2 images on'),
        (
            dict(given=Latents(torch.full((2, 3, 4, 4), torch.nan), LAYOUT), keep_BL=keeping(0)),
            'given latents are not finite',
        ),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny_mar().sample(torch.tensor([0, 1]), **wrong)


def test_the_command_keeps_a_part_of_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    halves: dict[str, Any] = dict(ch=32, ch_mult=(1, 1), num_res_blocks=1, z_channels=3)
    autoencoder = TOKENIZERS.build(
        dict(
            type='KLAutoencoder',
            encoder=dict(type='VQGANEncoder', **{**halves, 'z_channels': 6}),
            decoder=dict(type='VQGANDecoder', **halves),
            latent_channels=3,
            latent_scale=0.5,
        )
    ).eval()
    layout = autoencoder.layout(8, 8)
    model = ImageGenerator(tiny_mar(layout=layout), autoencoder)
    model.save_pretrained(tmp_path / 'generator')
    autoencoder.save_pretrained(tmp_path / 'tokenizer')
    picture = tmp_path / 'picture.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(picture)
    call = [str(tmp_path / 'generator'), str(tmp_path / 'tokenizer'), '--num', '2', '--classes', '1', '--npz']
    more = ['--steps', '4', '--diffusion-steps', '2', '--from', str(picture), '--keep', 'left']
    assert sample.main([*call, *more, '--out', str(tmp_path / 'out')]) == 0
    assert (tmp_path / 'out/given.png').exists()
    plan = json.loads((tmp_path / 'out/shards/samples.json').read_text())
    assert len(plan['settings']['given']) == 64
    with np.load(tmp_path / 'out/samples.npz') as file:
        assert not np.array_equal(file['arr_0'][0], file['arr_0'][1])
    assert sample.main([*call, *more, '--precision', 'bfloat16', '--out', str(tmp_path / 'half')]) == 0
    capsys.readouterr()
    wrong = ['--from', str(picture), '--keep', 'scales:2', '--out', str(tmp_path / 'new')]
    assert sample.main([*call, *wrong]) == 2
    assert 'have no scales; name a part of the image' in capsys.readouterr().err
