"""VAR: next-scale prediction, its cache, guidance, mixtures, and what it keeps of given images."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.codes import CodeLayout, Codes, Grid, Latents, Targets
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS, MODELS
from fvq_core.tokenizer import Tokenizer
from fvq_generators import VAR
from fvq_generators.binding import bind_checked
from fvq_generators.image_generator import ImageGenerator
from fvq_generators.layers.block_causal_attention import block_causal_attention, flex
from fvq_generators.sampling import Sampler
from fvq_generators.scale_decoding import NextScaleSampling
from tests.tiny import FVQ, tiny_tokenizer

SCALES = (1, 2, 3)
PYRAMID = dict(
    type='MultiScaleQuantizer', quantizer=dict(type='VectorQuantizer', codebook_size=16, code_dim=8), scales=SCALES
)
LABELS = torch.tensor([0, 3, 4])


@cache
def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    return tiny_tokenizer(PYRAMID).fold()


def var_config(**changes: Any) -> dict[str, Any]:
    layout = tokenizer().layout(6, 6).to_dict()
    return dict(type='VAR', layout=layout, code_dim=8, dim=32, depth=2, heads=4, num_classes=5) | changes


def tiny_var(**changes: Any) -> VAR:
    """Bound, in eval mode, with weights so large that every scale and class shows in the logits."""
    torch.manual_seed(1)
    generator = cast(VAR, GENERATORS.build(var_config(**changes)))
    for parameter in generator.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    bind_checked(generator, tokenizer())
    return generator.eval()


def random_codes(generator: VAR, batch: int = 3) -> Codes:
    indices_BL = torch.randint(16, (batch, 14), generator=torch.Generator().manual_seed(3))
    return Codes(indices_BL, generator.layout)


def whole_logits(generator: VAR, codes: Codes, labels: Tensor) -> Tensor:
    return generator.logits(generator.features(generator.quantizer.prefix_inputs(codes), labels))


class Recorder:
    """A sampler that keeps logits, (B, L, V)."""

    def __init__(self, batch: int = 3, **settings: Any) -> None:
        self.sampler, self.batch, self.seen = Sampler(**settings), batch, []

    def __call__(self, logits_NV: Tensor, uniform_N: Tensor) -> Tensor:
        self.seen.append(logits_NV.unflatten(0, (self.batch, -1)))
        return self.sampler(logits_NV, uniform_N)

    def logits(self) -> Tensor:
        return torch.cat(self.seen, 1)


@pytest.mark.parametrize('changes', [{}, dict(shared_modulation=True), dict(cosine=False)])
@pytest.mark.parametrize('scale', [1.0, 3.0])
@torch.no_grad()
def test_logits_with_the_cache_equal_those_without(changes: dict[str, Any], scale: float):
    generator, recorder = tiny_var(**changes), Recorder()
    codes = generator.sample(LABELS, cfg_scale=scale, pick=recorder)
    assert isinstance(codes, Codes)
    whole = whole_logits(generator, codes, LABELS)
    if scale > 1.0:  # as released: (1 + t) conditional - t unconditional, t from 0 to its scale of guidance
        without = whole_logits(generator, codes, torch.full_like(LABELS, 5))
        t = torch.linspace(0, scale - 1, len(SCALES)).repeat_interleave(torch.tensor([1, 4, 9]))[:, None]
        whole = (1 + t) * whole - t * without
    torch.testing.assert_close(recorder.logits(), whole, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_code_depends_on_coarser_scales_and_on_no_other_of_its_own():
    generator = tiny_var()
    codes = random_codes(generator)
    before = whole_logits(generator, codes, LABELS)
    for position, first in ((0, 1), (2, 5)):
        changed = codes.indices_BL.clone()
        changed[:, position] = (changed[:, position] + 1) % 16
        after = whole_logits(generator, Codes(changed, codes.layout), LABELS)
        assert torch.equal(before[:, :first], after[:, :first])
        assert (before[:, first:] - after[:, first:]).abs().amax(-1).min() > 0


@pytest.mark.filterwarnings('ignore:flex_attention called without torch.compile')
@pytest.mark.parametrize('lengths', [(1, 4, 9), (2, 3), (7,)])
def test_both_ways_of_attention_equal_a_dense_mask_with_gradients(lengths: tuple[int, ...]):
    L = sum(lengths)
    q, k, v = (torch.randn(2, 3, L, 8, requires_grad=True) for _ in range(3))
    scale_of_L = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    dense = F.scaled_dot_product_attention(q, k, v, attn_mask=scale_of_L[:, None] >= scale_of_L, scale=0.7)
    ours = block_causal_attention(q, k, v, lengths, 0.7)
    torch.testing.assert_close(ours, dense)
    weights = torch.randn_like(dense)
    for got, want in zip(
        *(torch.autograd.grad((out * weights).sum(), (q, k, v)) for out in (ours, dense)), strict=True
    ):
        torch.testing.assert_close(got, want)
    torch.testing.assert_close(flex(*(part.detach() for part in (q, k, v)), lengths, 0.7), dense.detach())


def test_loss_is_the_mean_cross_entropy_and_checkpointing_changes_nothing():
    generator = tiny_var(drop_path=0.3).train()
    codes, gradients = random_codes(generator), []
    for checkpointing in (False, True):
        generator.checkpointing = checkpointing
        torch.manual_seed(5)  # of dropped classes and branches
        loss = generator.loss(Targets(codes), LABELS)['cross_entropy']
        gradients.append((loss, *torch.autograd.grad(loss, list(generator.parameters()))))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    generator.eval()
    logits = whole_logits(generator, codes, LABELS)
    expected = F.cross_entropy(logits.flatten(0, 1), codes.indices_BL.flatten())
    torch.testing.assert_close(generator.loss(Targets(codes), LABELS)['cross_entropy'], expected)


def test_start_values_are_the_released_ones():
    generator = cast(VAR, GENERATORS.build(var_config(dim=256, depth=4, gate_init=1e-3)))
    std = (3 * 256) ** -0.5
    factors = {
        'condition.table.weight': 1.0,
        'position_embedding': 1.0,
        'blocks.1.attention.qkv.weight': 1.0,
        'blocks.1.attention.out.weight': 8**-0.5,
        'blocks.3.ffn.outer.weight': 8**-0.5,
        'norm.modulation.linear.weight': 0.5,
        'head.weight': 0.02,
    }
    for name, factor in factors.items():
        assert generator.get_parameter(name).std().item() == pytest.approx(factor * std, rel=0.1), name
    gates, others = generator.get_parameter('blocks.0.modulation.linear.weight').split([512, 1024])
    assert gates.std().item() == pytest.approx(1e-3 * std, rel=0.05)
    assert others.std().item() == pytest.approx(0.5 * std, rel=0.05)
    assert generator.get_parameter('blocks.2.attention.log_scale_H').tolist() == [pytest.approx(math.log(4.0))] * 4
    assert all(value.abs().max() == 0 for name, value in generator.named_parameters() if name.endswith('bias'))
    shared = cast(VAR, GENERATORS.build(var_config(dim=256, shared_modulation=True)))
    gates, others = shared.get_parameter('blocks.0.modulation.offset_PD').split([2, 4])
    assert gates.std().item() == pytest.approx(1e-3 / 16, rel=0.2)
    assert others.std().item() == pytest.approx(0.5 / 16, rel=0.2)


@pytest.mark.parametrize('settings', [dict(cfg_scale=2.5, top_k=9, top_p=0.9), dict(cfg_scale=2.0, more_smooth=True)])
@torch.no_grad()
def test_a_sample_depends_on_its_seed_and_class_and_not_on_its_batch(settings: dict[str, Any]):
    model = ImageGenerator(tiny_var(), tokenizer())
    together = model.sample([0, 3, 4, 3], seeds=[7, 8, 9, 8], **settings)
    for number, (label, seed) in enumerate([(0, 7), (3, 8), (4, 9)]):
        alone = model.sample([label], seeds=[seed], **settings)
        torch.testing.assert_close(alone[0], together[number], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together[1], together[3], rtol=1e-4, atol=1e-4)
    assert not torch.equal(together[1], model.sample([3], seeds=[1], **settings)[0])
    assert model.sample([], **settings).shape == (0, 3, 6, 6)


@torch.no_grad()
def test_mixtures_are_softmaxes_of_noisy_logits_that_sharpen_along_the_scales():
    logits, noise = torch.randn(5, 16), -torch.empty(5, 16).exponential_().log()
    sampling = NextScaleSampling(top_k=4, more_smooth=True, temperature=0.5)
    kept = logits >= logits.topk(4).values[:, -1:]
    for share, temperature in ((0.0, 0.27), (0.5, 0.27 * 0.525), (1.0, 0.27 * 0.05)):
        weights = sampling.mixture(logits, noise, share)
        exponents = (logits / 0.5 * (1 + share) + noise).double() / temperature
        plain = torch.where(kept, (exponents - exponents.amax(-1, keepdim=True)).exp(), 0.0)
        torch.testing.assert_close(weights.double(), plain / plain.sum(-1, keepdim=True), rtol=1e-3, atol=1e-6)
    generator = tiny_var()
    drawn = generator.sample(LABELS, top_k=1, more_smooth=True)  # one code is left to mix
    greedy = generator.sample(LABELS, temperature=0.0)
    assert isinstance(drawn, Latents)
    torch.testing.assert_close(drawn.values, generator.quantizer.embed(greedy))


@torch.no_grad()
def test_what_is_given_is_kept_and_the_others_are_drawn_from_it():
    generator = tiny_var()
    given, seeds = random_codes(generator), [1, 2, 3]
    keep_BL = torch.zeros(3, 14, dtype=torch.bool)
    keep_BL[0, :5] = True  # the first scales
    keep_BL[1] = torch.arange(14) % 2 == 0  # a region
    recorder = Recorder()
    codes = generator.sample(LABELS, seeds=seeds, given=given, keep_BL=keep_BL, pick=recorder)
    assert torch.equal(codes.indices_BL[keep_BL], given.indices_BL[keep_BL])
    assert not torch.equal(codes.indices_BL[0], given.indices_BL[0])
    whole = whole_logits(generator, codes, LABELS)
    torch.testing.assert_close(recorder.logits(), whole, rtol=1e-4, atol=1e-4)
    plain = generator.sample(LABELS, seeds=seeds)
    assert torch.equal(codes.indices_BL[2], plain.indices_BL[2]), 'nothing of this one is kept'
    everything = torch.ones(3, 14, dtype=torch.bool)
    assert torch.equal(generator.sample(LABELS, given=given, keep_BL=everything).indices_BL, given.indices_BL)
    smooth = generator.sample(LABELS, given=given, keep_BL=everything, more_smooth=True)
    torch.testing.assert_close(smooth.values, generator.quantizer.embed(given))


def test_a_set_that_it_can_memorize_is_learned_and_drawn():
    torch.manual_seed(0)
    task = MODELS.build(
        dict(type='GeneratorTask', generator=var_config(cond_dropout=0.0, gate_init=0.1, head_init=1.0))
    )
    generator = cast(VAR, task.generator)
    bind_checked(generator, tokenizer())
    codes, labels = random_codes(generator, 5), torch.arange(5)
    optimizer = torch.optim.Adam(generator.parameters(), 0.01)
    for _ in range(60):
        loss = generator.loss(Targets(codes), labels)['cross_entropy']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    assert torch.equal(generator.sample(labels, temperature=0.0).indices_BL, codes.indices_BL)
    assert generator.training


@torch.no_grad()
def test_a_saved_model_gives_the_same_loss_and_codes(tmp_path: Path):
    generator = tiny_var(shared_modulation=True)
    sampling = dict(cfg_scale=2.5, top_k=9, top_p=0.96)
    model = ImageGenerator(generator, tokenizer(), sampling=sampling)
    loaded = ImageGenerator.from_pretrained(model.save_pretrained(tmp_path / 'model'))
    codes = random_codes(generator)
    losses = [each.loss(Targets(codes), LABELS)['cross_entropy'] for each in (generator, loaded.generator)]
    assert torch.equal(*losses)
    assert torch.equal(model.sample(LABELS, seeds=[1, 2, 3]), loaded.sample(LABELS, seeds=[1, 2, 3]))
    assert loaded.settings().to_dict() == {**NextScaleSampling().to_dict(), **sampling}


def test_what_it_cannot_take_is_refused_in_one_line():
    with pytest.raises(UserError, match=r'VAR takes a Pyramid with one code a position, got Grid'):
        GENERATORS.build(var_config(layout=CodeLayout(Grid(4, 4), 16)))
    generator = tiny_var()
    with pytest.raises(UserError, match='VAR draws what this Tokenizer cannot decode'):
        bind_checked(cast(VAR, GENERATORS.build(var_config())), tiny_tokenizer({**FVQ, 'codebook_size': 16}).fold())
    with pytest.raises(UserError, match='VAR reads sums of 4 channels, this MultiScaleQuantizer has codes of 8; set'):
        bind_checked(cast(VAR, GENERATORS.build(var_config(code_dim=4))), tokenizer())
    given = random_codes(generator)
    with pytest.raises(UserError, match=r'keep_BL is a bool tensor \(3, 14\)'):
        generator.sample(LABELS, given=given, keep_BL=torch.ones(3, 9, dtype=torch.bool))
    with pytest.raises(UserError, match='leave one of them out'):
        generator.sample(LABELS, more_smooth=True, temperature=0.0)
    with pytest.raises(UserError, match=r'needs a model that was trained with cond_dropout'):
        tiny_var(cond_dropout=0.0).sample(LABELS, cfg_scale=2.0)
    with pytest.raises(UserError, match=r'class 5 is out of range'):
        generator.sample(torch.tensor([5]))
    broken = tiny_var()
    broken.start.data.fill_(torch.nan)
    with pytest.raises(UserError, match='not finite'):
        broken.sample(LABELS)
    with pytest.raises(UserError, match='VAR needs the quantizer of its tokenizer; sample through'):
        cast(VAR, GENERATORS.build(var_config())).sample(LABELS)
    for name in ('drop_path', 'cond_dropout', 'dropout'):
        with pytest.raises(UserError, match=rf'VAR: {name} must lie in \[0, 1\), got 1.0'):
            GENERATORS.build(var_config(**{name: 1.0}))
