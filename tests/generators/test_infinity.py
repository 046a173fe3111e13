"""Infinity: bits of a multi-scale code, self-correction, rotary positions over scales, and what it shares with VAR."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.codes import Codes, LatentLayout, Latents, Pyramid, Targets
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_core.tokenizer import Tokenizer
from fvq_generators import Infinity
from fvq_generators.binding import bind_checked
from fvq_generators.cross_entropy import bits_cross_entropy
from fvq_generators.image_generator import ImageGenerator
from fvq_generators.layers.rotary_embedding import pyramid_rotations
from fvq_generators.self_correction import flipped_bits, self_corrected
from tests.tiny import random_images, tiny_tokenizer

from .test_var import Recorder

BITS, SCALES, LENGTHS = 8, (1, 2, 4), (1, 4, 16)
LABELS = torch.tensor([0, 3, 4])


@cache
def tokenizer(**changes: Any) -> Tokenizer:
    torch.manual_seed(0)
    bits = dict(type='BSQ', codebook_size=2**BITS, bit_labels=True)
    interpolated = dict(phi_ratio=0.0, interpolation='bilinear', inputs='bilinear', scales=SCALES)
    return tiny_tokenizer(dict(type='MultiScaleQuantizer', quantizer=bits, **interpolated | changes)).fold()


def infinity_config(**changes: Any) -> dict[str, Any]:
    layout = tokenizer().layout(8, 8).to_dict()
    return dict(type='Infinity', layout=layout, dim=32, depth=2, heads=4, num_classes=5) | changes


def tiny_infinity(**changes: Any) -> Infinity:
    """Bound, in eval mode, with weights so large that every scale and class shows in the logits."""
    torch.manual_seed(1)
    generator = cast(Infinity, GENERATORS.build(infinity_config(**changes)))
    for parameter in generator.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    bind_checked(generator, tokenizer())
    return generator.eval()


def random_codes(generator: Infinity, batch: int = 3) -> Codes:
    bits_BL = torch.randint(2, (batch, sum(LENGTHS) * BITS), generator=torch.Generator().manual_seed(3))
    return Codes(bits_BL, generator.layout)


def random_latents(batch: int = 3) -> Latents:
    z_BDHW = torch.randn(batch, BITS, 4, 4, generator=torch.Generator().manual_seed(4))
    return Latents(z_BDHW, LatentLayout(tokenizer().encoder.positions(8, 8), BITS))


def whole_logits(generator: Infinity, codes: Codes, labels: Tensor) -> Tensor:
    """(B, L, 2), a row for each bit."""
    return generator.logits(generator.features(generator.quantizer.prefix_inputs(codes), labels)).flatten(1, 2)


@pytest.mark.parametrize('changes', [{}, dict(shared_modulation=False), dict(rotary_grid=(64, 64))])
@pytest.mark.parametrize('schedule', ['constant', 'linear'])
@torch.no_grad()
def test_logits_with_the_cache_equal_those_without(changes: dict[str, Any], schedule: str):
    generator, recorder = tiny_infinity(**changes), Recorder()
    codes = generator.sample(LABELS, cfg_scale=3.0, cfg_schedule=schedule, pick=recorder)
    assert isinstance(codes, Codes)
    with_class = whole_logits(generator, codes, LABELS)
    without = whole_logits(generator, codes, torch.full_like(LABELS, 5))
    scales = torch.full((3,), 3.0) if schedule == 'constant' else torch.linspace(1, 3, 3)
    scale_L1 = scales.repeat_interleave(torch.tensor(LENGTHS) * BITS)[:, None]
    expected = without + scale_L1 * (with_class - without)
    torch.testing.assert_close(recorder.logits(), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_bit_depends_on_coarser_scales_and_on_no_other_of_its_own():
    generator = tiny_infinity()
    codes = random_codes(generator)
    before = whole_logits(generator, codes, LABELS)
    for bit, first in ((3, BITS), (BITS + 1, 5 * BITS)):
        changed = codes.indices_BL.clone()
        changed[:, bit] = 1 - changed[:, bit]
        after = whole_logits(generator, Codes(changed, codes.layout), LABELS)
        assert torch.equal(before[:, :first], after[:, :first])
        assert (before[:, first:] - after[:, first:]).abs().amax(-1).min() > 0


def test_every_scale_is_spread_over_one_grid():
    table = pyramid_rotations(Pyramid(((1, 1), (2, 3), (4, 4))), 8, 8, 6)
    places = [(0, 0)] + [(4 * i, 2 * j) for i in range(2) for j in range(3)]
    places += [(2 * i, round(1.5 * j)) for i in range(4) for j in range(4)]  # halves to the even one
    angles = torch.tensor([[y, y / 100, x, x / 100] for y, x in places])
    torch.testing.assert_close(table, torch.stack([angles.cos(), angles.sin()], -1))


def plainly_corrected(z_BDHW: Tensor, flips: float) -> tuple[Tensor, Tensor]:
    """Section 3.4 written out: signs of the unit residual, some flipped, enlarged and added."""
    total, targets, inputs = torch.zeros_like(z_BDHW), [], []
    for number, side in enumerate(SCALES):
        residual = z_BDHW - total
        pooled = F.avg_pool2d(residual, 4 // side)
        bits = (pooled > 0).permute(0, 2, 3, 1).flatten(1)
        targets.append(bits.long())
        if number + 1 == len(SCALES):
            break
        strength = flips * torch.rand(())
        wrong = bits ^ (torch.rand(bits.shape) < strength)
        signs = (2.0 * wrong - 1.0).view(-1, side, side, BITS).permute(0, 3, 1, 2) / math.sqrt(BITS)
        total = total + F.interpolate(signs, (4, 4), mode='bilinear')
        below = F.interpolate(total, (SCALES[number + 1],) * 2, mode='bilinear')
        inputs.append(below.permute(0, 2, 3, 1).flatten(1, 2))
    return torch.cat(targets, 1), torch.cat(inputs, 1)


@pytest.mark.parametrize('flips', [0.0, 0.5])
def test_self_correction_quantizes_what_flipped_bits_have_left(flips: float):
    z_BDHW, quantizer = random_latents().values, cast(Any, tokenizer().quantizer)
    torch.manual_seed(5)
    got = self_corrected(quantizer, z_BDHW, Pyramid(tuple((side, side) for side in SCALES)), flips)
    torch.manual_seed(5)
    want = plainly_corrected(z_BDHW, flips)
    assert torch.equal(got[0], want[0])
    torch.testing.assert_close(got[1], want[1])
    codes = quantizer(z_BDHW).codes
    unchanged = torch.equal(got[0], codes.indices_BL)
    assert unchanged == (flips == 0), 'targets follow the mistakes'
    if not flips:
        torch.testing.assert_close(got[1], quantizer.prefix_inputs(codes))


def test_the_share_of_flipped_bits_is_drawn_evenly():
    torch.manual_seed(0)
    shares = torch.stack([flipped_bits(torch.zeros(2000, dtype=torch.int64), 0.4).float().mean() for _ in range(400)])
    assert shares.mean().item() == pytest.approx(0.2, abs=0.02)
    assert shares.std().item() == pytest.approx(0.4 / math.sqrt(12), rel=0.1)
    assert flipped_bits(torch.ones(99), 0.0).min() == 1


def test_losses_of_bits_are_cross_entropies_of_two_values():
    torch.manual_seed(0)
    logits_NS2, bits_NS, weights_N = 3 * torch.randn(7, 5, 2), torch.randint(2, (7, 5)), torch.rand(7)
    plain_NS = F.cross_entropy(logits_NS2.flatten(0, 1), bits_NS.flatten(), reduction='none').view(7, 5)
    torch.testing.assert_close(bits_cross_entropy(logits_NS2, bits_NS), plain_NS.mean())
    weighted = (plain_NS.mean(1) * weights_N).sum() / weights_N.sum()
    torch.testing.assert_close(bits_cross_entropy(logits_NS2, bits_NS, weights_N), weighted)


def test_validation_is_the_likelihood_and_training_weighs_scales():
    generator = tiny_infinity(cond_dropout=0.0, flips=0.0)
    codes = random_codes(generator)
    logits = whole_logits(generator, codes, LABELS)
    each_BL = F.cross_entropy(logits.flatten(0, 1), codes.indices_BL.flatten(), reduction='none').view(3, -1)
    got = [generator.train(mode).loss(Targets(codes), LABELS)['cross_entropy'] for mode in (False, True)]
    torch.testing.assert_close(got[0], each_BL.mean())
    weights_L = torch.tensor([1.0] + [1 / 2] * 4 + [1 / 4] * 16).repeat_interleave(BITS)
    torch.testing.assert_close(got[1], (each_BL * weights_L).sum(1).mean() / weights_L.sum())
    generator.weigh_scales = False
    torch.testing.assert_close(generator.loss(Targets(codes), LABELS)['cross_entropy'], each_BL.mean())


def test_training_flips_bits_of_latents_or_of_what_stands_for_them():
    generator = tiny_infinity(cond_dropout=0.0, flips=0.5, weigh_scales=False).train()
    latents = random_latents()
    codes, losses = generator.quantizer(latents.values).codes, []
    for targets, z_BDHW in (
        (Targets(codes, latents=latents), latents.values),
        (Targets(codes), generator.quantizer.embed(codes)),
    ):
        torch.manual_seed(6)
        losses.append(generator.loss(targets, LABELS)['cross_entropy'])
        torch.manual_seed(6)
        # Sums of codes can be 0 at a coarse scale, where rounding decides; see `plainly_corrected` for the others.
        bits_BL, inputs_BLC = self_corrected(generator.quantizer, z_BDHW, generator.pyramid, 0.5)
        logits = generator.logits(generator.features(inputs_BLC, LABELS)).flatten(0, 2)
        torch.testing.assert_close(losses[-1], F.cross_entropy(logits, bits_BL.flatten()))
    assert losses[0] != losses[1]


def test_images_give_latents_in_training_only():
    generator, autoencoder = tiny_infinity(), tokenizer()
    images = ((random_images(2, 8, 8) + 1) * 127.5).byte()
    for mode in (True, False):
        targets = generator.train(mode).targets({'images': images}, autoencoder)
        assert targets.codes is not None
        assert (targets.latents is not None) == mode
        if targets.latents is not None:
            assert targets.codes == autoencoder.quantizer(targets.latents.values).codes
        assert torch.isfinite(generator.loss(targets, LABELS[:2])['cross_entropy'])
    generator.flips = 0.0
    assert generator.train().targets({'images': images}, autoencoder).latents is None


def test_checkpointing_changes_nothing():
    generator = tiny_infinity(drop_path=0.3).train()
    codes, gradients = random_codes(generator), []
    for checkpointing in (False, True):
        generator.checkpointing = checkpointing
        torch.manual_seed(5)  # of flips, dropped classes and branches
        loss = generator.loss(Targets(codes), LABELS)['cross_entropy']
        gradients.append((loss, *torch.autograd.grad(loss, list(generator.parameters()))))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_a_sample_depends_on_its_seed_and_class_and_not_on_its_batch():
    model, settings = ImageGenerator(tiny_infinity(), tokenizer()), dict(cfg_scale=2.5, top_p=0.9, temperature=0.8)
    together = model.sample([0, 3, 4, 3], seeds=[7, 8, 9, 8], **settings)
    for number, (label, seed) in enumerate([(0, 7), (3, 8), (4, 9)]):
        alone = model.sample([label], seeds=[seed], **settings)
        torch.testing.assert_close(alone[0], together[number], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together[1], together[3], rtol=1e-4, atol=1e-4)
    assert not torch.equal(together[1], model.sample([3], seeds=[1], **settings)[0])
    assert model.sample([], **settings).shape == (0, 3, 8, 8)


@torch.no_grad()
def test_what_is_given_is_kept_and_the_others_are_drawn_from_it():
    generator = tiny_infinity()
    given, seeds, L = random_codes(generator), [1, 2, 3], generator.layout.length
    keep_BL = torch.zeros(3, L, dtype=torch.bool)
    keep_BL[0, : 5 * BITS] = True  # the first scales
    keep_BL[1] = (torch.arange(L // BITS) % 2 == 0).repeat_interleave(BITS)  # a region
    recorder = Recorder()
    codes = generator.sample(LABELS, seeds=seeds, given=given, keep_BL=keep_BL, pick=recorder)
    assert torch.equal(codes.indices_BL[keep_BL], given.indices_BL[keep_BL])
    assert not torch.equal(codes.indices_BL[0], given.indices_BL[0])
    whole = whole_logits(generator, codes, LABELS)
    torch.testing.assert_close(recorder.logits(), whole, rtol=1e-4, atol=1e-4)
    plain = generator.sample(LABELS, seeds=seeds)
    assert torch.equal(codes.indices_BL[2], plain.indices_BL[2]), 'nothing of this one is kept'
    everything = torch.ones(3, L, dtype=torch.bool)
    assert torch.equal(generator.sample(LABELS, given=given, keep_BL=everything).indices_BL, given.indices_BL)


def test_a_set_that_it_can_memorize_is_learned_and_drawn():
    torch.manual_seed(0)
    changes = dict(cond_dropout=0.0, gate_init=0.1, modulation_init=0.5, head_init=1.0, flips=0.0)
    generator = cast(Infinity, GENERATORS.build(infinity_config(**changes)))
    bind_checked(generator, tokenizer())
    codes, labels = random_codes(generator, 5), torch.arange(5)
    optimizer = torch.optim.Adam(generator.parameters(), 0.02)
    for _ in range(50):
        loss = generator.loss(Targets(codes), labels)['cross_entropy']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    assert torch.equal(generator.sample(labels, temperature=0.0).indices_BL, codes.indices_BL)


@torch.no_grad()
def test_a_saved_model_gives_the_same_loss_and_codes(tmp_path: Path):
    model = ImageGenerator(tiny_infinity(rotary_grid=[9, 9]), tokenizer(), sampling=dict(cfg_scale=2.5, top_p=0.96))
    loaded = ImageGenerator.from_pretrained(model.save_pretrained(tmp_path / 'model'))
    codes = random_codes(cast(Infinity, model.generator))
    losses = [each.generator.loss(Targets(codes), LABELS)['cross_entropy'] for each in (model, loaded)]
    assert torch.equal(*losses)
    assert torch.equal(model.sample(LABELS, seeds=[1, 2, 3]), loaded.sample(LABELS, seeds=[1, 2, 3]))


def test_what_it_cannot_take_is_refused_in_one_line():
    scales = [(side, side) for side in SCALES]
    with pytest.raises(UserError, match=r'Infinity: predicts bits, got .* use a tokenizer with a label for each bit'):
        GENERATORS.build(infinity_config(layout=dict(type='Pyramid', scales=scales, codebook_size=[2, 4])))
    with pytest.raises(UserError, match=r'Infinity: flips must lie in \[0, 1\), got 1.0'):
        GENERATORS.build(infinity_config(flips=1.0))
    with pytest.raises(UserError, match='the channels of a head are a multiple of 4, got 2'):
        GENERATORS.build(infinity_config(heads=16))
    with pytest.raises(UserError, match='height must be'):
        GENERATORS.build(infinity_config(rotary_grid=(0, 4)))
    with pytest.raises(UserError, match="inputs are shrunk by 'area' or 'bilinear', got 'bicubic'"):
        tokenizer(inputs='bicubic')
    with pytest.raises(UserError, match='Infinity draws what this Tokenizer cannot decode'):
        bind_checked(tiny_infinity(), tokenizer(scales=(1, 3, 4)))
