"""MaskGIT: masks, losses, what a step draws, guidance, in-painting, orders, factors, bad input."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F

from fvq_core.codes import CodeLayout, Codes, Grid, Pyramid, Targets
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_generators.layers import split_code
from fvq_generators.masked import MaskGIT, ModulatedTransformer
from fvq_generators.masked.code_embedding import CodeEmbedding
from fvq_generators.masked.halton import halton_order, halton_positions
from fvq_generators.masked.schedules import SCHEDULES, draw_masks, masked_share
from fvq_generators.pretrained import load_generator, save_generator

from .masked_cases import FORMS, masked_config, plainly_drawn, tiny_masked
from .tiny import GRID, SEQUENCE

COND = torch.tensor([0, 3, 4])
SEEDS = [11, 12, 13]


def random_codes(model: MaskGIT, batch: int = 3) -> Codes:
    generator = torch.Generator().manual_seed(1)
    shape = (batch, model.layout.length)
    return Codes(torch.randint(model.layout.vocab_size, shape, generator=generator), model.layout)


@pytest.mark.parametrize('name', SCHEDULES)
def test_a_schedule_falls_from_all_codes_to_none(name: str):
    share = masked_share(SCHEDULES[name], torch.linspace(0, 1, 50, dtype=torch.float64), 256)
    assert (share.diff() <= 0).all()
    assert share[0].item() == pytest.approx(1.0, abs=1 / 256)
    assert share[-1].item() == pytest.approx(0.0, abs=1e-5)


def test_the_published_numbers_of_codes_stay_masked():
    """256 codes in 8 steps: MaskGIT's cosine, TiTok's arccos."""
    settings = MaskGIT.Sampling(steps=8)
    for schedule, wanted in (
        ('cosine', [251, 236, 212, 181, 142, 97, 49]),
        ('arccos', [235, 214, 193, 170, 145, 117, 82]),
    ):
        assert [int(256 * step.share) for step in settings.plan(schedule, 256)][:-1] == wanted


def test_training_masks_as_many_codes_as_scheduled_or_each_on_its_own():
    device = torch.device('cpu')
    masks = draw_masks(4000, 20, SCHEDULES['arccos'], False, device)
    counts = masks.sum(1)
    assert counts.min() >= 1
    assert counts.double().mean().item() == pytest.approx(20 * 2 / math.pi, abs=0.3)  # the mean of arccos is 2 / pi
    assert masks.double().mean(0).sub(2 / math.pi).abs().max() < 0.05, 'every position alike'
    alone = draw_masks(4000, 20, lambda progress, length: torch.full_like(progress, 0.25), True, device)
    assert alone.sum(1).double().var().item() == pytest.approx(20 * 0.25 * 0.75, rel=0.1)  # binomial


@pytest.mark.parametrize('form', FORMS)
def test_the_loss_is_the_weighted_cross_entropy_of_the_masked_images(form: str):
    model, codes = tiny_masked(form), random_codes(tiny_masked(form))
    torch.manual_seed(5)
    loss = model.loss(Targets(codes), COND)['cross_entropy']
    torch.manual_seed(5)
    masked = draw_masks(3, codes.layout.length, SCHEDULES[model.mask_schedule], model.mask_each, torch.device('cpu'))
    logits = model.logits(codes.indices_BL.masked_fill(masked, 32), COND)
    sizes = [*model.codes.factors[:-1], logits.shape[-1] - sum(model.codes.factors[:-1])]
    each = sum(
        F.cross_entropy(part.flatten(0, 1), target.flatten(), reduction='none', label_smoothing=model.label_smoothing)
        for part, target in zip(logits.split(sizes, -1), split_code(codes.indices_BL, model.codes.factors), strict=True)
    )
    weights = torch.where(masked, 1.0, model.unmasked_weight).flatten()
    torch.testing.assert_close(loss, (each * weights).sum() / weights.sum())


def test_the_loss_of_an_untrained_model_is_that_of_even_guesses():
    torch.manual_seed(0)
    for form in FORMS:
        model = GENERATORS.build(masked_config(form))
        outputs = model.head.outputs if len(model.codes.factors) == 1 else 32
        assert model.loss(Targets(random_codes(model)), COND)['cross_entropy'].item() == pytest.approx(
            math.log(outputs), rel=0.05
        )


@pytest.mark.parametrize('form', ['original', 'halton'])
def test_a_model_that_memorized_images_draws_them(form: str):
    torch.manual_seed(0)
    network = {**FORMS[form]['network'], 'depth': 1, 'dropout': 0.0}
    network |= {'attention_dropout': 0.0} if form == 'original' else {}
    model = GENERATORS.build(masked_config(form, network=network, cond_dropout=0.0, label_smoothing=0.0)).train()
    codes, classes = random_codes(model, 5), torch.arange(5)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(150):
        loss = model.loss(Targets(codes), classes)['cross_entropy']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    order = 'halton' if form == 'halton' else 'confidence'
    drawn = model.sample(classes, steps=3, order=order, temperature=0.0)
    assert torch.equal(drawn.indices_BL, codes.indices_BL)


@pytest.mark.parametrize('form', ['original', 'titok', 'uvit', 'halton', 'factors'])
@pytest.mark.parametrize(
    'options',
    [
        dict(steps=4),
        dict(steps=5, cfg_scale=3.0),
        dict(steps=7, cfg_scale=2.0, cfg_schedule='linear', temperature=1.3, final_temperature=0.5),
        dict(steps=1, cfg_scale=2.0, mask_schedule='square', choice_temperature=0.0),
    ],
)
def test_a_plain_loop_with_all_logits_draws_the_same_codes(form: str, options: dict[str, Any]):
    model = tiny_masked(form)
    with torch.no_grad():
        assert torch.equal(
            model.sample(COND, seeds=SEEDS, **options).indices_BL, plainly_drawn(model, COND, SEEDS, **options)
        )


def test_so_it_does_around_given_codes_of_which_each_image_keeps_others():
    model = tiny_masked('original')
    given = random_codes(model)
    keep_BL = torch.rand(3, 12, generator=torch.Generator().manual_seed(3)) < torch.tensor([[0.3], [0.8], [0.0]])
    drawn = model.sample(COND, seeds=SEEDS, given=given, keep_BL=keep_BL, steps=4, cfg_scale=2.0).indices_BL
    start_BL = torch.where(keep_BL, given.indices_BL, 32)
    with torch.no_grad():
        assert torch.equal(drawn, plainly_drawn(model, COND, SEEDS, start_BL, steps=4, cfg_scale=2.0))
    for order in ('confidence', 'redraw', 'halton'):
        drawn = model.sample(COND, seeds=SEEDS, given=given, keep_BL=keep_BL, steps=4, order=order).indices_BL
        assert torch.equal(drawn[keep_BL], given.indices_BL[keep_BL])
        whole = model.sample(COND, given=given, keep_BL=keep_BL | True, steps=4, order=order)
        assert torch.equal(whole.indices_BL, given.indices_BL), 'nothing is left to draw'


@pytest.mark.parametrize(
    ('form', 'order'),
    [(form, order) for form in FORMS for order in ('confidence', 'redraw')]
    + [('original', 'halton'), ('halton', 'halton')],
)
def test_an_image_depends_on_its_seed_and_not_on_its_batch(form: str, order: str):
    model = tiny_masked(form)
    options: dict[str, Any] = dict(steps=5, cfg_scale=2.0, order=order, random_start=True)
    for choice in ('probability', 'logit'):
        drawn = model.sample(COND, seeds=SEEDS, choice=choice, **options).indices_BL
        for image in range(3):
            alone = model.sample(COND[image : image + 1], seeds=[SEEDS[image]], choice=choice, **options)
            assert torch.equal(alone.indices_BL[0], drawn[image])
        assert drawn.max() < 32
        assert not torch.equal(drawn, model.sample(COND, seeds=[1, 2, 3], choice=choice, **options).indices_BL)


def test_by_default_8_steps_or_one_a_code_draw_an_image():
    small, large = tiny_masked('titok', layout=dict(SEQUENCE, length=5)), tiny_masked('original')
    assert small.sample(COND, seeds=SEEDS) == small.sample(COND, seeds=SEEDS, steps=5)
    assert large.sample(COND, seeds=SEEDS) == large.sample(COND, seeds=SEEDS, steps=8)
    with pytest.raises(UserError, match='8 steps for the 5 codes of an image; take at most one a code'):
        small.sample(COND, steps=8)


def test_logits_are_computed_only_where_codes_are_drawn():
    model, rows = tiny_masked('original'), []
    head = model.head.forward
    model.head.forward = lambda x, codes: rows.append(x.shape[1]) or head(x, codes)  # type: ignore[method-assign]
    model.sample(COND, steps=4)
    assert rows == [12, *(int(12 * step.share) for step in MaskGIT.Sampling(steps=4).plan('cosine', 12)[:-1])]
    rows.clear()
    model.sample(COND, steps=4, order='halton', mask_schedule='linear')
    assert rows == [3, 3, 3, 3]


def test_the_halton_order_is_a_permutation_that_begins_with_the_sequence():
    layout = CodeLayout(Grid(4, 6), 8)
    order = halton_order(layout)
    assert sorted(order.tolist()) == list(range(24))
    points = [(1 / 2, 1 / 3), (1 / 4, 2 / 3), (3 / 4, 1 / 9), (1 / 8, 4 / 9)]  # bases 2 and 3
    assert order[:4].tolist() == [int(4 * a) * 6 + int(6 * b + 1e-9) for a, b in points]
    assert len(set(halton_positions(16, 16))) == 256


def test_a_random_start_rolls_the_order_of_each_image():
    model = tiny_masked('original')
    fed: list[torch.Tensor] = []
    embed = model.codes.forward
    model.codes.forward = lambda indices: fed.append(indices) or embed(indices)  # type: ignore[method-assign]
    order = halton_order(model.layout).tolist()
    for random_start in (False, True):
        fed.clear()
        model.sample(
            torch.zeros(6, dtype=torch.int64), seeds=range(6), order='halton', steps=12, random_start=random_start
        )
        first = [int((row != 32).nonzero()[0]) for row in fed[1]]
        assert (len(set(first)) > 1) == random_start
        if not random_start:
            assert first == [order[0]] * 6


def test_a_factorised_vocabulary_adds_vectors_and_multiplies_probabilities():
    embedding = CodeEmbedding(24, 8, factors=(4, 6))
    rows = embedding.table.weight
    expected = torch.stack([rows[2] + rows[4 + 1], rows[3] + rows[4 + 5], rows[10]])
    torch.testing.assert_close(embedding(torch.tensor([[6, 23, 24]]))[0], expected)  # 6 = 2 + 4 x 1, and 24 is the mask
    model = tiny_masked('factors')
    indices_BL = torch.full((1, 7), 32)
    with torch.no_grad():
        logits = model.logits(indices_BL, COND[:1])[0]
    wanted = (logits[0, :2].softmax(-1) * logits[0, 2:].softmax(-1)[:, None]).flatten()  # code 2 i + j
    many = 4000
    drawn = model.sample(COND[:1].expand(many), seeds=range(many), steps=1).indices_BL[:, 0]
    torch.testing.assert_close(drawn.bincount(minlength=32) / many, wanted, rtol=0, atol=0.03)


def test_a_large_vocabulary_needs_few_rows():
    layout = dict(type='Grid', height=16, width=16, codebook_size=2**18)
    with torch.device('meta'):
        model = GENERATORS.build(masked_config('original', layout=layout, factors=(64, 4096)))
    assert model.codes.table.weight.shape == (64 + 4096 + 1, 32)
    assert model.head.outputs == 4160


def test_guidance_is_toward_the_class_from_none():
    """At a scale so large that it decides alone, the likeliest codes are those that the class makes likelier."""
    model = tiny_masked('titok')
    blank_BL = torch.full((3, 7), 32)
    with torch.no_grad():
        gain = model.logits(blank_BL, COND) - model.logits(blank_BL, model.condition.null(COND))
    drawn = model.sample(COND, steps=1, cfg_scale=1e4, temperature=0.0).indices_BL
    assert torch.equal(drawn, gain.argmax(-1))


@pytest.mark.parametrize('form', FORMS)
def test_it_is_saved_with_its_settings_and_loaded_again(form: str, tmp_path: Path):
    model = tiny_masked(form)
    folder = save_generator(model, model.state_dict(), tmp_path / form, sampling=dict(steps=3, choice='logit'))
    again, config = load_generator(folder)
    assert config['sampling'] == dict(steps=3, choice='logit')
    assert (
        json.loads((folder / 'config.json').read_text())['generator']['network']['type']
        == FORMS[form]['network']['type']
    )
    assert torch.equal(*(each.sample(COND, seeds=SEEDS, steps=3).indices_BL for each in (model, again)))
    assert {id(block) for block in again.blocks} == {id(block) for block in again.network.blocks}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(layout=dict(type='Grid', height=3, width=4, codebook_size=[8, 8])),
            'MaskGIT takes a Grid or Sequence with one code',
        ),
        (dict(layout=CodeLayout(Pyramid(((1, 1), (2, 2))), 8)), 'MaskGIT takes a Grid or Sequence'),
        (dict(mask_schedule='arcos'), "unknown mask_schedule 'arcos'; .*arccos"),
        (dict(factors=(3, 11)), 'factors multiply to the number of codes, 32; got 3 x 11 = 33'),
        (dict(factors=(2, 16), mask_output=True), 'leave out mask_output or factors'),
        (dict(label_smoothing=1.0), r'label_smoothing must lie in \[0, 1\)'),
        (dict(unmasked_weight=-1.0), 'unmasked_weight must be 0 or more'),
        (dict(network=dict(type='Bert')), "'Bert' is not registered; .*BERT"),
        (dict(network=dict(type='BERT', dim=32, haeds=2)), "unknown argument 'haeds'; .*heads"),
        (dict(network=dict(type='ModulatedTransformer', registers=-1)), 'registers must be 0 or more'),
    ],
)
def test_arguments_that_do_not_fit_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        GENERATORS.build(masked_config('original', **changes))


@pytest.mark.parametrize(
    ('form', 'settings', 'message'),
    [
        ('original', dict(steps=13), '13 steps for the 12 codes of an image; take at most one a code'),
        (
            'titok',
            dict(order='halton', steps=3),
            "order='halton' spreads codes over a Grid, and these are .*; use order='confidence'",
        ),
        ('original', dict(cfg_interval=3), "has no setting 'cfg_interval'"),
        ('original', dict(order='raster'), 'order must be one of confidence, redraw, halton'),
        ('original', dict(mask_schedule='cosin'), 'mask_schedule must be one of .*cosine'),
        ('original', dict(choice_temperature=-1.0), 'choice_temperature must be a finite number from 0'),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_drawn(
    form: str, settings: dict[str, Any], message: str
):
    with pytest.raises(UserError, match=message):
        tiny_masked(form).sample(torch.empty(0, dtype=torch.int64), **settings)


def test_guidance_classes_and_given_codes_that_do_not_fit_are_refused():
    model = tiny_masked('original', cond_dropout=0.0)
    with pytest.raises(UserError, match='needs a model that was trained with cond_dropout'):
        model.sample(COND, cfg_scale=2.0)
    with pytest.raises(UserError, match='class 5 is out of range'):
        model.sample(torch.tensor([5]))
    given = random_codes(model)
    with pytest.raises(UserError, match=r'keep_BL is a bool tensor \(3, 12\), .* got torch.bool \(3, 11\)'):
        model.sample(COND, given=given, keep_BL=torch.ones(3, 11, dtype=torch.bool))
    with pytest.raises(UserError, match='expected given codes of 3 images'):
        model.sample(COND, given=given[:2], keep_BL=torch.ones(2, 12, dtype=torch.bool))
    with pytest.raises(UserError, match='this model has learned'):
        model.loss(Targets(Codes(torch.zeros(3, 4, dtype=torch.int64), CodeLayout(Grid(2, 2), 32))), COND)


def test_codes_are_merged_and_taken_apart_as_the_release_does_with_convolutions():
    network = {**FORMS['halton']['network'], 'merge': True}
    model = tiny_masked('halton', layout={**GRID, 'height': 4, 'width': 6}, network=network)
    transformer, x_BDHW = cast(ModulatedTransformer, model.network), torch.randn(2, 32, 4, 6)
    merged = F.conv2d(x_BDHW, transformer.merge_in.weight.view(32, 32, 2, 2), stride=2)
    got = transformer.merged(x_BDHW.flatten(2).transpose(1, 2))
    torch.testing.assert_close(got, merged.flatten(2).transpose(1, 2))
    apart = F.pixel_shuffle(F.conv2d(merged, transformer.merge_out.weight[:, :, None, None]), 2)
    torch.testing.assert_close(transformer.taken_apart(got), apart.flatten(2).transpose(1, 2))
    assert model.sample(COND, steps=3, order='halton').indices_BL.shape == (3, 24)
    with pytest.raises(UserError, match='merge needs a Grid of even sides, got Grid'):
        tiny_masked('halton', network=network)


def test_checkpointing_changes_no_gradient():
    model = tiny_masked('halton').train()
    gradients = []
    for checkpointing in (False, True):
        model.network.checkpointing = checkpointing
        model.zero_grad()
        torch.manual_seed(2)
        model.loss(Targets(random_codes(model)), COND)['cross_entropy'].backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_the_smallest_grid_is_drawn():
    model = tiny_masked('original', layout={**GRID, 'height': 1, 'width': 1})
    assert model.sample(COND, steps=1, order='halton').indices_BL.shape == (3, 1)
