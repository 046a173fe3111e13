"""BAR: its masked bit head, draws, cache and orders."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.codes import Codes, Targets
from fvq_core.errors import NonFiniteError, UserError
from fvq_core.registry import GENERATORS
from fvq_generators import BAR
from fvq_generators.bar import MaskedBitSampling
from fvq_generators.image_generator import ImageGenerator
from fvq_generators.layers.masked_bit_head import MaskedBitHead, even_shares
from fvq_generators.sampling import uniforms
from tests.tiny import FVQ, tiny_tokenizer

from .tiny import GRID

BITS = 5
LABELS = torch.tensor([0, 3, 4])
SIZE: dict[str, Any] = dict(dim=32, depth=2, heads=4, num_classes=5, head_width=24, head_depth=2, class_tokens=3)


def tiny_bar(**changes: Any) -> BAR:
    """In eval mode, with weights so large that every code and class shows."""
    torch.manual_seed(1)
    generator = cast(BAR, GENERATORS.build(dict(type='BAR', layout=GRID, **SIZE) | changes))
    for parameter in generator.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return generator.eval()


def tiny_head() -> MaskedBitHead:
    torch.manual_seed(2)
    head = MaskedBitHead(BITS, 16, 2)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return head


def random_codes(batch: int = 3) -> Codes:
    indices_BL = torch.randint(32, (batch, 12), generator=torch.Generator().manual_seed(3))
    return Codes(indices_BL, tiny_bar().layout)


def plainly(head: MaskedBitHead, bits_NS: Tensor, cond_NW: Tensor, share: float) -> Tensor:
    """The head written out, with the names of its weights."""
    w = dict(head.named_parameters()) | dict(head.named_buffers())

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f'{name}.weight'], w.get(f'{name}.bias'))

    def norm(x: Tensor, name: str) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w[f'{name}.weight']

    angles = 2 * math.pi * share * w['share_embedding.frequencies']
    time = F.silu(linear(torch.cat([angles.sin(), angles.cos()]), 'share_embedding.inner'))
    cond = F.silu(linear(time, 'share_embedding.outer') + cond_NW)
    x = norm(linear(w['bit_embedding.weight'][bits_NS].flatten(1), 'input'), 'input_norm')
    for block in range(2):
        gate, scale, shift = linear(F.silu(cond), f'blocks.{block}.modulation.linear').chunk(3, -1)
        inner = norm(x, f'blocks.{block}.norm') * (1 + scale) + shift
        left, right = linear(inner, f'blocks.{block}.ffn.gate_up').chunk(2, -1)
        x = x + gate * linear(F.silu(left) * right, f'blocks.{block}.ffn.out')
    scale, shift = linear(F.silu(cond), 'norm.modulation.linear').chunk(2, -1)
    return linear(norm(x, 'norm.norm') * (1 + scale) + shift, 'output').view(len(x), BITS, 2)


def test_the_head_is_the_formula_and_its_loss_weighs_masked_bits():
    head, cond_NW = tiny_head(), torch.randn(7, 16)
    bits_NS = torch.randint(3, (7, BITS))
    torch.testing.assert_close(head(bits_NS, cond_NW, torch.full((7,), 0.6)), plainly(head, bits_NS, cond_NW, 0.6))
    bits_NS = torch.randint(2, (7, BITS))
    torch.manual_seed(4)
    loss = head.loss(bits_NS, cond_NW)
    torch.manual_seed(4)
    share_N = (1 - torch.sigmoid(0.8 * torch.randn(7))).clamp(min=1 / BITS)
    total = weight = 0.0
    for number, order in enumerate(torch.rand(7, BITS).argsort(1).tolist()):
        masked = [place < max(1, round(BITS * share_N[number].item())) for place in order]
        seen = [2 if hidden else bit for hidden, bit in zip(masked, bits_NS[number].tolist(), strict=True)]
        logits = plainly(head, torch.tensor([seen]), cond_NW[number : number + 1], share_N[number].item())[0]
        losses = F.cross_entropy(logits, bits_NS[number], reduction='none')
        weights = torch.tensor([1.0 if hidden else 0.1 for hidden in masked])
        total, weight = total + (losses * weights).sum(), weight + weights.sum()
    torch.testing.assert_close(loss, total / weight)


def test_bits_are_shared_out_over_the_steps_and_the_last_have_more():
    shares = {steps: even_shares(18, steps) for steps in (1, 4, 8)}
    assert shares == {1: [18], 4: [4, 4, 5, 5], 8: [2, 2, 2, 2, 2, 2, 3, 3]}
    sampling = MaskedBitSampling(steps=8, shares='2-2-5-7')
    assert sampling.shares_of(16) == [2, 2, 5, 7]
    for wrong in ('2-2-5-6', '2-2-5-seven', '16-0'):
        with pytest.raises(UserError, match=f"whole numbers with hyphens between, 16 together, got '{wrong}'"):
            MaskedBitSampling(shares=wrong).shares_of(16)


@torch.no_grad()
@pytest.mark.parametrize('scale', [None, 3.0])
def test_without_noise_the_surest_bits_come_first(scale: float | None):
    head, cond_NW = tiny_head(), torch.randn(8 if scale else 4, 16)
    uniform = torch.rand(4, 2, 8, BITS, dtype=torch.float64)
    got = head.draw(cond_NW, uniform, (1, 2, 2), 0.0, None if scale is None else torch.tensor(scale))
    bits = torch.full((4, BITS), 2)
    for known, following in ((0, 1), (1, 3), (3, 5)):
        logits = plainly(head, bits, cond_NW[:4], 1 - known / BITS)
        if scale:
            without = plainly(head, bits, cond_NW[4:], 1 - known / BITS)
            logits = without + scale * (logits - without)
        best, values = logits.max(-1)
        for row in range(4):
            hidden = sorted((place for place in range(BITS) if bits[row, place] == 2), key=lambda p: -best[row, p])
            for place in hidden[: following - known]:
                bits[row, place] = values[row, place]
    assert torch.equal(got, bits)


@torch.no_grad()
def test_one_step_draws_each_bit_from_its_own_probability():
    head, cond_1W = tiny_head(), torch.randn(1, 16)
    uniform = uniforms(list(range(4000)), 2 * 8 * BITS).view(-1, 2, 8, BITS)
    bits = head.draw(cond_1W.expand(4000, -1), uniform, (BITS,), 1.0)
    wanted = plainly(head, torch.full((1, BITS), 2), cond_1W, 1.0)[0].softmax(-1)[:, 1]
    torch.testing.assert_close(bits.float().mean(0), wanted, atol=0.03, rtol=0)
    assert ((wanted > 0.1) & (wanted < 0.9)).any(), 'some of them are not sure'


class Recorder:
    """Draws the codes that it is given, and keeps what it would draw from."""

    def __init__(self, codes: Codes) -> None:
        self.codes, self.seen = codes.indices_BL, []

    def __call__(self, x_BC: Tensor, uniform: Tensor) -> Tensor:
        self.seen.append(x_BC)
        return self.codes[:, len(self.seen) - 1]


@torch.no_grad()
def test_what_the_head_reads_is_the_same_with_the_cache_and_without():
    generator, codes = tiny_bar(), random_codes()
    recorder = Recorder(codes)
    generator.sample(LABELS, cfg_scale=3.0, pick=recorder)
    seen = torch.stack(recorder.seen, 1)
    for half, labels in enumerate((LABELS, torch.full_like(LABELS, 5))):
        whole = generator.head(generator.features(codes.indices_BL[:, :-1], labels)[:, 3:])
        torch.testing.assert_close(seen[3 * half : 3 * half + 3, :, :-1], whole, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen[0, :, -1], 1 + 2 * torch.arange(12) / 12), 'as released, it rises from 1'


@torch.no_grad()
def test_a_sample_depends_on_its_seed_and_class_and_not_on_its_batch():
    generator, settings = tiny_bar(), dict(cfg_scale=2.5, steps=3)
    together = generator.sample(torch.tensor([0, 3, 4, 3]), seeds=[7, 8, 9, 8], **settings).indices_BL
    for number, (label, seed) in enumerate([(0, 7), (3, 8), (4, 9)]):
        alone = generator.sample(torch.tensor([label]), seeds=[seed], **settings)
        assert torch.equal(alone.indices_BL[0], together[number])
    assert torch.equal(together[1], together[3])
    assert not torch.equal(together[1], generator.sample(torch.tensor([3]), seeds=[1], **settings).indices_BL[0])
    given, keep_BL = random_codes(), torch.zeros(3, 12, dtype=torch.bool)
    keep_BL[:, ::2] = True
    drawn = generator.sample(LABELS, given=given, keep_BL=keep_BL, **settings).indices_BL
    assert torch.equal(drawn[keep_BL], given.indices_BL[keep_BL])
    assert not torch.equal(drawn, given.indices_BL)


def test_a_broken_head_draws_no_bits():
    generator = tiny_bar()
    torch.nn.init.constant_(generator.bit_head.output.weight, torch.nan)
    with pytest.raises(NonFiniteError, match='the logits of a code are not finite'):
        generator.sample(LABELS, seeds=[0, 1, 2])


def test_a_set_that_it_can_memorize_is_learned_and_drawn():
    torch.manual_seed(0)
    generator = cast(BAR, GENERATORS.build(dict(type='BAR', layout=GRID, cond_dropout=0.0, **SIZE)))
    codes, labels = random_codes(5), torch.arange(5)
    for parameter in generator.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    optimizer = torch.optim.Adam(generator.parameters())
    generator.random_share = 0.0
    for step in range(200):
        optimizer.param_groups[0]['lr'] = 0.006 if step < 150 else 0.001
        loss = generator.loss(Targets(codes), labels)['cross_entropy']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    assert torch.equal(generator.sample(labels, temperature=0.0).indices_BL, codes.indices_BL)


@torch.no_grad()
def test_a_saved_model_gives_the_same_loss_and_codes(tmp_path: Path):
    tokenizer = tiny_tokenizer({**FVQ, 'codebook_size': 32}).fold()
    model = ImageGenerator(tiny_bar(), tokenizer, sampling=dict(cfg_scale=2.5, steps=2))
    loaded = ImageGenerator.from_pretrained(model.save_pretrained(tmp_path / 'model'))
    losses = []
    for each in (model, loaded):
        torch.manual_seed(5)  # of masks
        losses.append(each.generator.loss(Targets(random_codes()), LABELS)['cross_entropy'])
    assert torch.equal(*losses)
    assert torch.equal(model.sample(LABELS, seeds=[1, 2, 3]), loaded.sample(LABELS, seeds=[1, 2, 3]))


@torch.no_grad()
def test_a_code_depends_on_those_before_it_in_the_order_and_on_the_place_of_the_next():
    generator, codes = tiny_bar(), random_codes().indices_BL
    order = torch.tensor([7, 3, 11, 0, 1, 10, 2, 5, 4, 9, 8, 6]).expand(3, -1)
    one = generator.features(codes[:, :-1], LABELS, order)
    changed = codes.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 32
    other = generator.features(changed[:, :-1], LABELS, order)
    torch.testing.assert_close(one[:, :8], other[:, :8], rtol=0, atol=1e-5)  # start, three times the class, four codes
    assert (one[:, 8:] - other[:, 8:]).abs().amax(-1).min() > 1e-4
    swapped = order.clone()
    swapped[:, [5, 6]] = order[:, [6, 5]]
    moved = generator.features(codes[:, :-1], LABELS, swapped)
    torch.testing.assert_close(one[:, :8], moved[:, :8], rtol=0, atol=1e-5)
    assert (one[:, 8] - moved[:, 8]).abs().amax(-1).min() > 1e-4
    reading = torch.arange(12).expand(3, -1)
    torch.testing.assert_close(generator.features(codes, LABELS, reading), generator.features(codes, LABELS))


def test_codes_without_bits_are_refused():
    with pytest.raises(UserError, match=r'BAR: predicts the bits of codes, whose number must be a power of 2, got 30'):
        GENERATORS.build(dict(type='BAR', layout={**GRID, 'codebook_size': 30}, **SIZE))
    with pytest.raises(UserError, match='half of the heads look ahead, so they are an even number, got 1'):
        GENERATORS.build(dict(type='BAR', layout=GRID, **SIZE) | dict(heads=1))
    with pytest.raises(UserError, match='steps must be'):
        tiny_bar().sample(LABELS, steps=9)
