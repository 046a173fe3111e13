"""The transformer: what it may look at, with a cache and without; sampling; bad input."""

from __future__ import annotations

import copy
import math
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fvq_core.codes import CodeLayout, Codes, Grid, Targets
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_generators import LlamaGen
from fvq_generators.layers import KVCache
from fvq_generators.sampling import Sampler

from .tiny import SEQUENCE, generator_config, tiny_generator

CAPTIONS = dict(caption_dim=6, caption_tokens=4)
VARIANTS: dict[str, dict[str, Any]] = {
    'grid': {},
    'grouped': dict(kv_heads=2),
    'sequence': dict(layout=SEQUENCE),
    'learned': dict(layout=SEQUENCE, positions='learned'),
    'captions': CAPTIONS,
}
MASK = torch.tensor([[False, False, True, True], [False, True, True, True]])


def condition(generator: LlamaGen, batch: int = 2) -> Tensor:
    if hasattr(generator.condition, 'caption_dim'):
        return torch.randn(batch, 4, 6, generator=torch.Generator().manual_seed(5))
    return torch.arange(batch) % 5


def random_codes(generator: LlamaGen, batch: int = 2) -> Codes:
    rng = torch.Generator().manual_seed(3)
    return Codes(torch.randint(32, (batch, generator.layout.length), generator=rng), generator.layout)


def incremental(generator: LlamaGen, codes: Codes, cond: Tensor, cuts: list[int], mask: Tensor | None) -> Tensor:
    """Logits of every code, with the cache filled in pieces that end at the cuts."""
    cache = generator.new_cache(len(codes))
    visible = None if mask is None else generator.visible(mask, len(mask))
    out = [generator.prefill(cond, cache, visible)[:, None]]
    ends = [*sorted({cut for cut in cuts if 0 < cut < codes.layout.length - 1}), codes.layout.length - 1]
    start = 0
    for end in ends:
        x = generator.embed(codes.indices_BL[:, start:end], start)
        out.append(generator.logits(generator.extend(x, cache, generator.condition.tokens + start, visible)))
        start = end
    return torch.cat(out, dim=1)


@pytest.mark.parametrize(('name', 'masked'), [*((name, False) for name in VARIANTS), ('captions', True)])
def test_logits_with_the_cache_equal_those_without_at_any_split(name: str, masked: bool):
    generator = tiny_generator(**VARIANTS[name])
    codes, cond, mask = random_codes(generator), condition(generator), MASK if masked else None
    with torch.no_grad():
        features = generator.features(codes.indices_BL[:, :-1], cond, mask)
        whole = generator.logits(features[:, generator.condition.tokens - 1 :])

    @settings(max_examples=25)
    @given(st.lists(st.integers(1, 10)))
    @torch.no_grad()
    def at_any_split(cuts: list[int]) -> None:
        torch.testing.assert_close(incremental(generator, codes, cond, cuts, mask), whole, rtol=1e-5, atol=1e-5)

    at_any_split()


@torch.no_grad()
def test_logits_in_static_shapes_equal_those_in_growing_ones():
    for name, visible in (('grouped', None), ('learned', None), ('captions', MASK)):
        generator = tiny_generator(**VARIANTS[name])
        codes, cond = random_codes(generator), condition(generator)
        visible = None if visible is None else generator.visible(visible, len(visible))
        growing, static = generator.new_cache(2), generator.new_cache(2)
        for cache in (growing, static):
            generator.prefill(cond, cache, visible)
        for number in range(4):
            place = generator.condition.tokens + number
            tokens = codes.indices_BL[:, number]
            one = generator.step(tokens, growing, place, visible)
            other = generator.step(tokens, static, torch.tensor([place]), visible)
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_code_depends_on_those_before_it_and_on_no_later_one():
    generator = tiny_generator()
    codes, cond = random_codes(generator), condition(generator)
    changed = codes.indices_BL.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 32
    one, other = (generator.logits(generator.features(indices, cond)) for indices in (codes.indices_BL, changed))
    assert torch.equal(one[:, :6], other[:, :6])  # the class, then codes 0 to 4
    assert (one[:, 6:] - other[:, 6:]).abs().amax(-1).min() > 0


@torch.no_grad()
def test_padding_of_captions_is_not_seen():
    generator = tiny_generator(**CAPTIONS)
    codes, captions = random_codes(generator), condition(generator)
    other = torch.where(MASK[..., None], captions, 9.0)
    logits = [generator.features(codes.indices_BL, c, MASK)[:, 3:] for c in (captions, other)]
    assert torch.equal(*logits)
    assert not torch.equal(generator.features(codes.indices_BL, other)[:, 3:], logits[0])


def test_the_start_values_are_the_released_ones():
    generator: LlamaGen = GENERATORS.build(generator_config(dim=64, heads=4))
    assert generator.head.weight.abs().max() == 0
    for name in ('code_embedding.weight', 'condition.table.weight', 'blocks.1.ffn.gate_up.weight'):
        assert generator.get_parameter(name).std().item() == pytest.approx(0.02, rel=0.1)
    loss = generator.loss(Targets(random_codes(generator)), condition(generator))['cross_entropy']
    assert loss.item() == pytest.approx(math.log(32), rel=1e-6)


def test_loss_is_the_mean_cross_entropy_of_each_code_given_those_before():
    generator = tiny_generator(**CAPTIONS)
    codes, cond = random_codes(generator), condition(generator)
    logits = generator.logits(generator.features(codes.indices_BL[:, :-1], cond, MASK)[:, 3:])
    plain = torch.nn.functional.cross_entropy(logits.flatten(0, 1), codes.indices_BL.flatten(), reduction='none')
    loss = generator.loss(Targets(codes), cond, MASK)['cross_entropy']
    torch.testing.assert_close(loss, plain.mean())
    half = generator.loss(Targets(codes), cond, MASK, torch.tensor([0.0, 1.0]))['cross_entropy']
    torch.testing.assert_close(half, plain.view(2, -1)[1].mean())
    none = generator.loss(Targets(codes), cond, MASK, torch.zeros(2))['cross_entropy']
    assert none.item() == 0.0


def test_training_drops_a_share_of_the_conditions_and_evaluation_none():
    generator = tiny_generator(cond_dropout=0.25).train()
    labels = torch.full((4000,), 3)
    dropped = generator.condition.drop(labels)
    assert set(dropped.tolist()) == {3, 5}
    assert (dropped == 5).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert generator.condition(labels).unique(dim=0).shape[0] == 2
    assert generator.eval().condition(labels).unique(dim=0).shape[0] == 1
    text = tiny_generator(**CAPTIONS, cond_dropout=0.5).train()
    captions = text.condition.drop(condition(text, 200))
    none = (captions == text.condition.unconditional_TC).all(-1).all(-1)
    assert none.float().mean().item() == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize('checkpointing', [True, False])
def test_dropout_and_drop_path_act_only_in_training(checkpointing: bool):
    generator = tiny_generator(drop_path=0.5, attention_dropout=0.1, checkpointing=checkpointing)
    assert [block.drop_path.rate for block in generator.blocks] == [0.0, 0.5]
    codes, cond = random_codes(generator), condition(generator)
    evaluated = [generator.loss(Targets(codes), cond)['cross_entropy'] for _ in range(2)]
    assert torch.equal(*evaluated)
    generator.train()
    trained = [generator.loss(Targets(codes), cond)['cross_entropy'] for _ in range(2)]
    assert not torch.equal(*trained)


def test_checkpointing_gives_the_same_gradients_and_keeps_less():
    def run(checkpointing: bool) -> tuple[dict[str, Tensor | None], int]:
        torch.manual_seed(0)
        generator = tiny_generator(checkpointing=checkpointing).train()
        kept: list[int] = []

        def keep(tensor: Tensor) -> Tensor:
            kept.append(tensor.numel())
            return tensor

        torch.manual_seed(4)  # of the dropout
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = generator.loss(Targets(random_codes(generator)), condition(generator))['cross_entropy']
        loss.backward()
        return {name: parameter.grad for name, parameter in generator.named_parameters()}, sum(kept)

    (plain, much), (checkpointed, little) = run(False), run(True)
    torch.testing.assert_close(checkpointed, plain, rtol=1e-5, atol=1e-7)
    assert little < 0.4 * much


@pytest.mark.parametrize('name', VARIANTS)
@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(cfg_scale=3.0, cfg_schedule='cosine'),
        dict(cfg_scale=2.0, temperature=0.8, top_k=20, top_p=0.95, cfg_interval=3),
    ],
)
def test_a_sample_does_not_depend_on_its_batch(name: str, options: dict[str, Any]):
    generator = tiny_generator(**VARIANTS[name])
    cond, seeds = condition(generator, 5), [11, 7, 2**40, 7, 0]
    together = generator.sample(cond, seeds=seeds, **options)
    alone = [generator.sample(cond[i : i + 1], seeds=seeds[i : i + 1], **options).indices_BL for i in range(5)]
    assert torch.equal(together.indices_BL, torch.cat(alone))
    assert together.layout == generator.layout
    generator.layout.check(together.indices_BL)
    assert len(together.indices_BL.unique(dim=0)) >= 4


@torch.no_grad()
@pytest.mark.parametrize('name', ['grid', 'captions'])
def test_given_codes_stay_and_the_others_follow_from_those_before(name: str):
    generator, mask = tiny_generator(**VARIANTS[name]), MASK if name == 'captions' else None
    given, cond = random_codes(generator), condition(generator)
    keep_BL = torch.zeros(2, generator.layout.length, dtype=torch.bool)
    keep_BL[:, :5] = True
    keep_BL[1, 7] = True
    kept: dict[str, Any] = dict(given=given, keep_BL=keep_BL, caption_mask_BT=mask)
    drawn = generator.sample(cond, temperature=0, **kept).indices_BL
    assert torch.equal(drawn[keep_BL], given.indices_BL[keep_BL])
    features = generator.features(drawn[:, :-1], cond, mask)[:, generator.condition.tokens - 1 :]
    assert torch.equal(drawn[~keep_BL], generator.logits(features).argmax(-1)[~keep_BL])
    options: dict[str, Any] = dict(seeds=[5, 6], cfg_scale=2.0, cfg_interval=6, **kept)
    compiled = generator.sample(cond, compile='aot_eager', **options).indices_BL
    assert torch.equal(compiled, generator.sample(cond, **options).indices_BL)
    assert torch.equal(compiled[keep_BL], given.indices_BL[keep_BL])


def test_seeds_come_from_the_generator_that_is_given():
    generator = tiny_generator()
    draws = [generator.sample(condition(generator), rng=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(draws[0].indices_BL, draws[1].indices_BL)
    assert not torch.equal(draws[0].indices_BL, draws[2].indices_BL)


@torch.no_grad()
@pytest.mark.parametrize(('interval', 'schedule'), [(-1, 'constant'), (0, 'constant'), (4, 'constant'), (-1, 'linear')])
def test_greedy_sampling_is_the_argmax_of_the_guided_logits(interval: int, schedule: str):
    generator = tiny_generator()
    cond = condition(generator)
    got = generator.sample(cond, cfg_scale=1.7, cfg_interval=interval, cfg_schedule=schedule, temperature=0)
    indices = torch.empty(2, 0, dtype=torch.int64)
    for number in range(12):  # from the start each time, without a cache
        with_class, without = (
            generator.logits(generator.features(indices, c)[:, -1]) for c in (cond, torch.full_like(cond, 5))
        )
        guided = interval < 0 or number <= interval + 1
        scale = 1.7 if schedule == 'constant' else 1 + 0.7 * number / 11
        logits = without + (with_class - without) * scale if guided else with_class
        indices = torch.cat([indices, logits.argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(got.indices_BL, indices)


@torch.no_grad()
def test_samples_are_distributed_as_the_model_says():
    generator = tiny_generator(layout=dict(type='Grid', height=1, width=2, codebook_size=4), num_classes=1)
    codes = generator.sample(torch.zeros(6000, dtype=torch.int64), rng=torch.Generator().manual_seed(0)).indices_BL
    pairs = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    logits = generator.logits(generator.features(pairs[:, :1], torch.zeros(16, dtype=torch.int64)))
    log_p = logits.log_softmax(-1).gather(2, pairs[..., None]).sum((1, 2))
    found = (codes[:, 0] * 4 + codes[:, 1]).bincount(minlength=16) / 6000
    torch.testing.assert_close(found, log_p.exp(), rtol=0, atol=0.02)


@pytest.mark.parametrize('name', ['grid', 'captions'])
def test_compiled_steps_give_the_same_codes_for_every_batch(name: str):
    generator = tiny_generator(**VARIANTS[name])
    mask = MASK if name == 'captions' else None
    options: dict[str, Any] = dict(cfg_scale=2.0, cfg_interval=3, cfg_schedule='linear', caption_mask_BT=mask)
    torch._dynamo.utils.counters.clear()
    for seed in (1, 2):  # the second time in the memory of the first
        cond = condition(generator) if mask is None else torch.randn(2, 4, 6)
        eager = generator.sample(cond, seeds=[seed, seed + 9], **options).indices_BL
        compiled = generator.sample(cond, seeds=[seed, seed + 9], compile='aot_eager', **options).indices_BL
        assert torch.equal(compiled, eager)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] == 2  # guided and not
    assert copy.deepcopy(generator).static_steps is not generator.static_steps


GRAPHS: list[torch.fx.GraphModule] = []


@torch._dynamo.register_backend(name='keep_graphs')
def keep_graphs(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
    GRAPHS.append(graph)
    return graph.forward


@pytest.mark.parametrize('filters', [dict(), dict(top_k=5, top_p=0.9), dict(temperature=0.0)], ids=str)
def test_tokens_are_picked_outside_the_compiled_code(filters: dict[str, Any]):
    torch._dynamo.reset()
    GRAPHS.clear()
    generator = tiny_generator()
    options: dict[str, Any] = dict(cfg_scale=2.0, seeds=[3, 4], **filters)
    compiled = generator.sample(condition(generator), compile='keep_graphs', **options).indices_BL
    assert torch.equal(compiled, generator.sample(condition(generator), **options).indices_BL)
    (graph,) = GRAPHS
    called = ' '.join(str(node.target) for node in graph.graph.nodes if node.op.startswith('call'))
    assert 'scaled_dot_product_attention' in called, 'the graph is not that of the model'
    assert [name for name in ('cumsum', 'searchsorted', 'topk', 'sort', 'argmax') if name in called] == []


def test_sampling_leaves_the_mode_as_it_was_and_drops_nothing():
    generator = tiny_generator()
    expected = generator.sample(condition(generator), seeds=[1, 2]).indices_BL
    generator.train()
    assert torch.equal(generator.sample(condition(generator), seeds=[1, 2]).indices_BL, expected)
    assert generator.training
    assert generator.blocks[0].training


def test_in_bfloat16_angles_and_logits_stay_in_float32():
    generator = tiny_generator().to(torch.bfloat16)
    assert generator.rotations is not None
    assert generator.rotations.dtype == torch.float32
    seen: list[Tensor] = []

    def pick(logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
        seen.append(logits_BV)
        return Sampler()(logits_BV, uniform_B)

    generator.sample(condition(generator), cfg_scale=2.0, pick=pick)
    assert {logits.dtype for logits in seen} == {torch.float32}
    assert generator.new_cache(1).keys.dtype == torch.bfloat16


def test_meta_weights_become_a_working_model():
    with torch.device('meta'):
        skeleton = GENERATORS.build(generator_config())
    generator = tiny_generator()
    built = skeleton.to_empty(device='cpu')
    built.load_state_dict(generator.state_dict())
    cond = condition(generator)
    assert torch.equal(
        built.eval().sample(cond, seeds=[1, 2]).indices_BL, generator.sample(cond, seeds=[1, 2]).indices_BL
    )


REFUSED: list[tuple[dict[str, Any], str]] = [
    (dict(cond=torch.tensor([5])), 'class 5 is out of range; this model has classes 0 to 4'),
    (dict(cond=torch.tensor([-1])), 'class -1 is out of range'),
    (dict(cond=torch.tensor([1.0])), r'whole numbers \(B,\)'),
    (dict(cond=torch.tensor([[1]])), r'whole numbers \(B,\)'),
    (dict(cfg_scale=0.5), 'cfg_scale must be a finite number from 1'),
    (dict(cfg_interval=-2), 'cfg_interval'),
    (dict(top_p=0.0), 'top_p'),
    (dict(temperature=-1.0), 'temperature'),
    (dict(seeds=[1, 2]), '2 seeds for 1 conditions'),
    (dict(seeds=7), 'seeds are a list of whole numbers, got 7'),
    (dict(seeds=[0.5]), 'seeds are a list of whole numbers'),
    (dict(seeds=[2**70]), 'seeds have at most 64 bits'),
    (dict(cond=[1]), 'conditions are a tensor, got list'),
    (dict(cond=torch.tensor([True])), r'whole numbers \(B,\), got torch.bool'),
    (dict(top_k=2.5), 'top_k must be a whole number from 0'),
    (dict(top_p='1'), 'top_p must be a finite number above 0 and up to 1'),
    (dict(temperature='1'), 'temperature must be 0, or a finite number from 1e-05'),
    (dict(cfg_scale='2'), 'cfg_scale must be a finite number from 1'),
    (dict(caption_mask_BT=torch.ones(1, 1)), 'goes with captions'),
]


@pytest.mark.parametrize(('arguments', 'message'), REFUSED)
def test_what_cannot_be_sampled_is_refused(arguments: dict[str, Any], message: str):
    arguments = dict(arguments)
    cond = arguments.pop('cond', torch.tensor([1]))
    with pytest.raises(UserError, match=message):
        tiny_generator().sample(cond, **arguments)


def test_guidance_of_a_model_trained_without_dropping_classes_is_refused():
    generator = tiny_generator(cond_dropout=0.0)
    assert generator.condition.table.weight.shape[0] == 5
    with pytest.raises(UserError, match='needs a model that was trained with cond_dropout'):
        generator.sample(torch.tensor([1]), cfg_scale=1.5)
    assert len(generator.sample(torch.tensor([1]))) == 1


def test_layouts_and_codes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match='LlamaGen takes a Grid or Sequence with one code a position, got'):
        GENERATORS.build(generator_config(layout=CodeLayout(Grid(2, 2), (8, 8)).to_dict()))
    generator = tiny_generator()
    other = Codes(torch.zeros(1, 12, dtype=torch.int64), CodeLayout(Grid(4, 3), 32))
    with pytest.raises(UserError, match='the codes are Grid'):
        generator.loss(Targets(other), torch.tensor([0]))
    with pytest.raises(UserError, match='13 codes do not fit a layout of 12'):
        generator.features(torch.zeros(1, 13, dtype=torch.int64), torch.tensor([0]))
    cache = generator.new_cache(1)
    with pytest.raises(UserError, match='positions 12 to 12 are wanted and there are 12'), torch.no_grad():
        generator.step(torch.tensor([0]), cache, 12)
    with pytest.raises(UserError, match="unknown positions 'rotery'; did you mean 'rotary'"):
        GENERATORS.build(generator_config(positions='rotery'))


@pytest.mark.parametrize('device', ['GPU', 'CPU'])
def test_too_little_memory_names_the_batch_that_fits_once_that_of_the_failed_batch_is_free(
    device: str, monkeypatch: pytest.MonkeyPatch
):
    generator = tiny_generator()
    held: list[weakref.ref[KVCache]] = []
    when_measured = []

    def full(cond: Tensor, cache: KVCache, *_: Any) -> Tensor:
        held.append(weakref.ref(cache))
        if device == 'GPU':
            raise torch.OutOfMemoryError('out of memory')
        return torch.empty(2**60)

    def measure(batch: int, *_: Any) -> int:
        when_measured.append(held[0]())
        return batch // 2

    monkeypatch.setattr(generator, 'prefill', full)
    monkeypatch.setattr('fvq_generators.out_of_memory.batch_that_fits', measure)
    with pytest.raises(UserError, match=r'sampling 8 images at once needs more memory .* about 4 should fit'):
        generator.sample(torch.zeros(8, dtype=torch.int64))
    assert when_measured == [None]


def test_other_errors_are_not_taken_for_too_little_memory(monkeypatch: pytest.MonkeyPatch):
    generator = tiny_generator()
    monkeypatch.setattr(generator, 'prefill', lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match='size'):
        generator.sample(torch.zeros(8, dtype=torch.int64))


def test_broken_weights_draw_nothing():
    generator = tiny_generator()
    torch.nn.init.constant_(generator.norm.weight, torch.nan)
    with pytest.raises(UserError, match='the logits of the first code are not finite'):
        generator.sample(torch.zeros(2, dtype=torch.int64))
    generator = tiny_generator()
    first = generator.sample(torch.tensor([1]), seeds=[0]).indices_BL[0, 0]
    torch.nn.init.constant_(generator.code_embedding.weight[first], torch.nan)
    with pytest.raises(UserError, match='the logits of a code are not finite'):
        generator.sample(torch.tensor([1]), seeds=[0])


@pytest.mark.parametrize(
    'options',
    [
        dict(drop_path=1.0),
        dict(drop_path=-0.1),
        dict(cond_dropout=1.0),
        dict(depth=0),
        dict(num_classes=0),
        dict(hidden_multiple=0),
    ],
)
def test_sizes_and_rates_without_meaning_are_refused(options: dict[str, Any]):
    (name,) = options
    with pytest.raises(UserError, match=f'LlamaGen: {name} must'):
        GENERATORS.build(generator_config(**options))


def test_a_caption_mask_has_a_line_for_each_caption_and_captions_any_float_type():
    generator = tiny_generator(**VARIANTS['captions'])
    captions = torch.randn(2, 4, 6)
    with pytest.raises(UserError, match=r'expected a caption mask of \(2, 4\)'):
        generator.sample(captions, caption_mask_BT=torch.ones(1, 4, dtype=torch.bool))
    with pytest.raises(UserError, match='this model has classes'):
        tiny_generator().sample(torch.tensor([0]), caption_mask_BT=torch.ones(1, 4, dtype=torch.bool))
    half = captions.half()
    expected = generator.sample(half.float(), seeds=[1, 2]).indices_BL
    assert torch.equal(generator.sample(half, seeds=[1, 2]).indices_BL, expected)


def test_compiled_steps_of_two_batch_sizes_are_kept_and_an_unknown_backend_is_refused():
    generator = tiny_generator()
    for size in (1, 2, 3, 2):
        cond = torch.zeros(size, dtype=torch.int64)
        seeds = list(range(size))
        compiled = generator.sample(cond, seeds=seeds, compile='eager').indices_BL
        assert torch.equal(compiled, generator.sample(cond, seeds=seeds).indices_BL)
        assert generator.static_steps is not None
        assert len(generator.static_steps.caches) == len(generator.static_steps.steps) == min(size, 2)
    assert list(generator.static_steps.caches) == [3, 2]
    with pytest.raises(UserError, match="there is no backend 'inducter'; did you mean 'inductor'"):
        generator.sample(cond, compile='inducter')


def test_no_images_are_no_codes():
    assert tiny_generator().sample(torch.zeros(0, dtype=torch.int64)).indices_BL.shape == (0, 12)


def test_codes_and_conditions_that_cannot_be_learned_are_refused():
    generator = tiny_generator()
    length = generator.layout.length
    indices, cond = torch.zeros(2, length, dtype=torch.int64), torch.tensor([0, 1])
    assert generator.loss(Targets(Codes(indices.to(torch.uint16), generator.layout)), cond)['cross_entropy'].isfinite()
    wrong: list[tuple[Any, Any, str]] = [
        (indices, cond, r'Targets: expected Codes, got a tensor \(2, 12\)'),
        (Codes(indices + 32, generator.layout), cond, r'codes must lie in \[0, 32\)'),
        (Codes(indices[:, 1:], generator.layout), cond, r'expected codes of shape \(B, 12\), got \(2, 11\)'),
        (Codes(indices, generator.layout), cond[:1], '1 conditions for the codes of 2 images'),
        (Codes(indices, generator.layout), cond + 4, 'class 5 is out of range'),
        (Codes(indices, generator.layout), cond.float(), 'classes are whole numbers'),
    ]
    for codes, classes, message in wrong:
        with pytest.raises(UserError, match=message):
            generator.loss(Targets(codes), classes)
