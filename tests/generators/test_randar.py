"""RandAR: instructions, orders, several codes a step, in-painting, the released layout, skipped steps, bad input."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from fvq.commands import convert
from fvq_core.codes import Codes, Targets
from fvq_core.errors import UserError
from fvq_core.images import to_uint8
from fvq_core.registry import GENERATORS
from fvq_generators import RandAR
from fvq_generators.commands import sample
from fvq_generators.image_generator import ImageGenerator
from fvq_generators.image_sets import SamplePlan
from fvq_generators.optim import SkippingOptimWrapper
from fvq_generators.parallel_decoding import remaining_sizes, step_sizes
from fvq_generators.pretrained import load_generator, save_generator
from tests.tiny import FVQ, build_from_peer, tiny_tokenizer

from .test_interop import peer_state
from .tiny import GRID, tiny_generator

CONFIG = dict(type='RandAR', layout=GRID, dim=32, depth=2, heads=4, num_classes=5, hidden_multiple=8)
COND = torch.tensor([4, 1, 0])
ORDER = torch.tensor([7, 3, 11, 0, 1, 10, 2, 5, 4, 9, 8, 6])


def build(std: float = 0.3, **changes: Any) -> RandAR:
    torch.manual_seed(0)
    generator = cast(RandAR, GENERATORS.build({**CONFIG, **changes}))
    for parameter in generator.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=std)
    return generator.eval()


def random_codes(generator: RandAR) -> Codes:
    rng = torch.Generator().manual_seed(3)
    return Codes(torch.randint(32, (3, 12), generator=rng), generator.layout)


@given(st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=60)
def test_steps_draw_all_codes_and_each_at_least_one(length: int, steps: int):
    sizes = step_sizes(length, steps)
    assert sum(sizes) == length
    assert min(sizes) >= 1
    for known in (0, length // 3, length):
        assert sum(remaining_sizes(sizes, known)) == length - known
    assert step_sizes(length, -1) == [1] * length


@torch.no_grad()
def test_a_code_depends_on_its_place_and_on_those_before_it_in_the_order():
    generator, order = build(), ORDER.expand(3, -1)
    indices_BL = random_codes(generator).indices_BL
    changed_BL = indices_BL.clone()
    changed_BL[:, ORDER[4]] = (changed_BL[:, ORDER[4]] + 1) % 32
    one, other = (generator.features(each, COND, order) for each in (indices_BL, changed_BL))
    torch.testing.assert_close(one[:, :5], other[:, :5], rtol=0, atol=1e-6)
    assert (one[:, 5:] - other[:, 5:]).abs().amax(-1).min() > 1e-4
    swapped = order.clone()
    swapped[:, [5, 6]] = order[:, [6, 5]]
    moved = generator.features(indices_BL, COND, swapped)
    assert (one[:, 5] - moved[:, 5]).abs().amax(-1).min() > 1e-4  # another place is asked for


@torch.no_grad()
@pytest.mark.parametrize('steps', [-1, 12, 5, 1])
def test_the_cache_gives_the_logits_of_one_pass(steps: int):
    generator, order = build(), ORDER.expand(3, -1)
    seen: list[Tensor] = []

    def pick(logits_NV: Tensor, uniform_N: Tensor) -> Tensor:
        seen.append(logits_NV.view(3, -1, 32)[:, 0])
        return logits_NV.argmax(-1)

    codes = generator.sample(COND, order_BL=ORDER, steps=steps, pick=pick).indices_BL
    whole = generator.logits(generator.features(codes, COND, order))
    sizes = step_sizes(12, steps)
    firsts = [sum(sizes[:number]) for number in range(len(sizes))]  # they see pairs only, as in training
    torch.testing.assert_close(torch.stack(seen, 1), whole[:, firsts], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_guidance_rises_with_the_share_of_the_codes_that_are_done():
    generator, order = build(), ORDER.expand(3, -1)
    drawn = generator.sample(COND, order_BL=ORDER, steps=-1, temperature=0, cfg_scale=3.0).indices_BL
    conditional, without = (
        generator.logits(generator.features(drawn, each, order)) for each in (COND, torch.full_like(COND, 5))
    )
    scales = 1 + 2 * torch.arange(12)[:, None] / 12
    guided = without + (conditional - without) * scales
    assert torch.equal(drawn.gather(1, order), guided.argmax(-1))


@pytest.mark.parametrize(
    'options', [dict(steps=5), dict(steps=-1, cfg_scale=2.0), dict(steps=4, order='raster', top_k=9)]
)
def test_a_sample_does_not_depend_on_its_batch(options: dict[str, Any]):
    generator, seeds = build(), [11, 2**40, 11]
    keep_BL = torch.zeros(3, 12, dtype=torch.bool)
    keep_BL[0, [2, 7]] = keep_BL[2, :5] = True  # as many are kept in no two images
    kept = dict(given=random_codes(generator), keep_BL=keep_BL)
    for some in ({}, kept):
        together = generator.sample(COND, seeds=seeds, **options, **some).indices_BL
        alone = [
            generator.sample(
                COND[i : i + 1],
                seeds=seeds[i : i + 1],
                **options,
                **{key: value[i : i + 1] for key, value in some.items()},
            ).indices_BL
            for i in range(3)
        ]
        assert torch.equal(together, torch.cat(alone))
    assert torch.equal(together[keep_BL], kept['given'].indices_BL[keep_BL])


@torch.no_grad()
def test_what_is_kept_is_read_before_anything_is_drawn():
    generator, given_codes = build(), random_codes(build())
    keep_BL = torch.zeros(3, 12, dtype=torch.bool)
    keep_BL[:, [3, 8, 11]] = True
    drawn = generator.sample(
        COND, temperature=0, steps=-1, order='raster', given=given_codes, keep_BL=keep_BL
    ).indices_BL
    order = torch.tensor([3, 8, 11, 0, 1, 2, 4, 5, 6, 7, 9, 10]).expand(3, -1)
    greedy = generator.logits(generator.features(drawn, COND, order)).argmax(-1)
    assert torch.equal(drawn.gather(1, order)[:, 3:], greedy[:, 3:])
    assert torch.equal(drawn[keep_BL], given_codes.indices_BL[keep_BL])
    all_BL = torch.ones_like(keep_BL)
    assert generator.sample(COND, steps=3, given=given_codes, keep_BL=all_BL) == given_codes


@pytest.mark.parametrize(
    'options', [dict(steps=5, cfg_scale=3.0), dict(steps=-1), dict(steps=4, order_BL=ORDER)], ids=str
)
def test_compiled_steps_draw_the_same_codes_in_any_batch_and_share_their_code(options: dict[str, Any]):
    generator, seeds = build(), [11, 2**40, 3]
    eager = generator.sample(COND, seeds=seeds, **options)
    torch._dynamo.utils.counters.clear()
    for count in (3, 2):  # the second in the memory of the first
        compiled = generator.sample(COND[:count], seeds=seeds[:count], compile='aot_eager', **options)
        assert torch.equal(compiled.indices_BL, eager.indices_BL[:count])
    assert 1 <= torch._dynamo.utils.counters['stats']['unique_graphs'] <= 3, 'not one for each size of a step'
    assert generator.static_steps is not None
    assert len(generator.static_steps.caches) == 1
    keep_BL = torch.zeros(3, 12, dtype=torch.bool)
    keep_BL[:2, [3, 8]] = True
    kept: dict[str, Any] = dict(seeds=seeds, given=random_codes(generator), keep_BL=keep_BL, **options)
    assert generator.sample(COND, compile='aot_eager', **kept) == generator.sample(COND, **kept)


def test_orders_of_a_file_are_dealt_out_to_the_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    tokenizer = tiny_tokenizer({**FVQ, 'codebook_size': 32}).fold()
    model = ImageGenerator(build(), tokenizer)
    model.save_pretrained('model')
    lines = [ORDER, torch.arange(12)]
    Path('orders.txt').write_text(
        '\n\n'.join(' '.join(map(str, line.tolist())) for line in lines).replace('7 3', '7,3')
    )
    call = ['model', '--num', '3', '--classes', '4', '1', '0', '--npz', '--out', 'out', '--steps', '4']
    assert sample.main([*call, '--order-file', 'orders.txt']) == 0
    seeds = [SamplePlan(3, (4, 1, 0), False, 0, {}).image_seed(number) for number in range(3)]
    drawn = model.sample(COND, seeds=seeds, steps=4, order_BL=torch.stack([*lines, ORDER]))
    with np.load('out/samples.npz') as file:
        assert np.abs(to_uint8(drawn).permute(0, 2, 3, 1).numpy().astype(int) - file['arr_0']).max() <= 1
    assert not torch.equal(drawn, model.sample(COND, seeds=seeds, steps=4, order_BL=ORDER))
    capsys.readouterr()
    assert sample.main(call) == 2
    assert 'order_file is ' in capsys.readouterr().err, 'the samples that are there were drawn in other orders'
    for text, message in (
        ('', 'bad.txt is empty; expected an order a line'),
        ('0 1 2', r'bad.txt: order 1: an order is a permutation of the 12 positions'),
        (' '.join(['0'] * 12), 'with a position twice or out of range'),
        (f'{" ".join(map(str, range(12)))}\n0 1 x', 'bad.txt: order 2 has "x"; expected an order a line'),
        (' '.join(['99999999999999999999'] * 12), 'bad.txt: order 1 has '),
    ):
        Path('bad.txt').write_text(text)
        assert sample.main([*call[:-4], '--out', 'new', '--order-file', 'bad.txt']) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
    assert sample.main([*call[:-4], '--out', 'new', '--order-file', 'none.txt']) == 2
    assert 'none.txt cannot be read: No such file' in capsys.readouterr().err
    assert not Path('new').exists()
    with pytest.raises(UserError, match="has no setting 'order_BL'"):
        ImageGenerator(tiny_generator(), tokenizer).sample(COND, order_BL=ORDER)


def test_it_memorizes_a_few_images_and_draws_them_in_any_order(tmp_path: Path):
    torch.manual_seed(0)
    generator = cast(RandAR, GENERATORS.build(dict(CONFIG, token_dropout=0.0, residual_dropout=0.0, ffn_dropout=0.0)))
    codes, cond = random_codes(generator), torch.arange(3)
    assert generator.eval().loss(Targets(codes), cond)['cross_entropy'].item() == pytest.approx(math.log(32), rel=1e-6)
    optimizer = torch.optim.AdamW(generator.parameters(), lr=1e-2)
    for _ in range(250):
        optimizer.zero_grad()
        generator.train().loss(Targets(codes), cond)['cross_entropy'].backward()
        optimizer.step()
    assert generator.eval().loss(Targets(codes), cond)['cross_entropy'].item() < 0.05
    for options in (dict(steps=4), dict(steps=-1, order='raster'), dict(steps=3, order_BL=ORDER)):
        assert generator.sample(cond, temperature=0, seeds=[1, 2, 3], **options) == codes
    save_generator(generator, generator.state_dict(), tmp_path / 'saved')
    loaded, _ = load_generator(tmp_path / 'saved')
    assert loaded.sample(cond, seeds=[5, 6, 7], steps=6) == generator.sample(cond, seeds=[5, 6, 7], steps=6)


def test_by_default_88_steps_or_one_a_code_draw_an_image():
    small = build()
    assert small.sample(COND, seeds=[1, 2, 3]) == small.sample(COND, seeds=[1, 2, 3], steps=12)
    assert small.Sampling.of({}).to_dict() == small.Sampling.of(dict(steps=0)).to_dict(), 'what is saved can be given'
    large = build(layout=dict(GRID, width=32))
    drawn = large.sample(COND[:1], seeds=[1])
    assert drawn == large.sample(COND[:1], seeds=[1], steps=88)
    assert drawn != large.sample(COND[:1], seeds=[1], steps=20)


BAD: list[tuple[dict[str, Any], str]] = [
    (dict(steps=13), '13 steps for 12 codes; give at most 12, or -1 for one at a time'),
    (dict(steps=-2), 'steps must be 0, or -1, or a whole number from 1'),
    (dict(order='spiral', steps=3), 'order must be one of random, raster'),
    (dict(order_BL=torch.zeros(12, dtype=torch.int64), steps=3), 'with a position twice or out of range'),
    (dict(order_BL=torch.arange(1, 13), steps=3), 'an order is a permutation of the 12 positions'),
    (dict(order_BL=torch.arange(11), steps=3), r'got torch.int64 \(11,\)'),
    (dict(order_BL=torch.arange(12.0), steps=3), 'got torch.float32'),
    (dict(cond=COND[:0], order_BL=torch.zeros(12, dtype=torch.int64)), 'with a position twice or out of range'),
    (dict(compile='inducter'), "there is no backend 'inducter'"),
    (dict(cfg_interval=3, steps=3), "no setting 'cfg_interval'"),
    (dict(cond=torch.tensor([5]), steps=3), 'class 5 is out of range'),
]


@pytest.mark.parametrize(('options', 'message'), BAD, ids=lambda value: str(value)[:40])
def test_what_cannot_be_sampled_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        build().sample(**{'cond': COND, **options})


def test_orders_of_a_loss_are_checked_and_layouts_that_it_cannot_take_refused():
    generator = build()
    with pytest.raises(UserError, match='an order is a permutation'):
        generator.loss(Targets(random_codes(generator)), COND, torch.zeros(3, 12, dtype=torch.int64))
    with pytest.raises(UserError, match='RandAR takes a Grid or Sequence'):
        build(layout=dict(type='Pyramid', scales=[(1, 1), (2, 2)], codebook_size=8))
    with pytest.raises(UserError, match='needs a model that was trained with cond_dropout'):
        build(cond_dropout=0.0).sample(COND, cfg_scale=2.0, steps=3)


def test_the_same_generator_comes_back_from_safetensors(tmp_path: Path):
    ours = build()
    theirs_state = peer_state(cast(Any, ours))
    theirs_state['pos_instruct_embeddings'] = theirs_state.pop('instruction_1D')
    save_file({key: value.contiguous() for key, value in theirs_state.items()}, tmp_path / 'randar.safetensors')
    arguments = [
        'randar',
        str(tmp_path / 'randar.safetensors'),
        str(tmp_path / 'out'),
        '--heads',
        '4',
        '--grid',
        '3',
        '4',
    ]
    assert convert.main(arguments) == 0
    theirs, _ = load_generator(tmp_path / 'out')
    assert isinstance(theirs, RandAR)
    assert theirs.sample(COND, seeds=[1, 2, 3], steps=5) == ours.sample(COND, seeds=[1, 2, 3], steps=5)
    with pytest.raises(UserError, match='no pos_instruct_embeddings'):
        build_from_peer('randar', {k: v for k, v in theirs_state.items() if 'pos_' not in k}, heads=4)


def test_a_step_whose_gradients_sum_up_to_too_much_is_left_out():
    weights = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    wrapper = SkippingOptimWrapper(torch.optim.SGD(weights, lr=1.0), max_norm=None, skip_above=7.0)
    for gradient, moves in ((3.0, True), (4.0, False)):  # the norms sum up to twice that
        before = [weight.detach().clone() for weight in weights]
        for weight in weights:
            weight.grad = torch.tensor([gradient, 0.0])
        wrapper.step()
        assert all((weight != old).any() == moves for weight, old in zip(weights, before, strict=True))
        assert wrapper.grad_norm is not None
        assert wrapper.grad_norm.item() == pytest.approx(gradient * 2**0.5)
    assert wrapper.skipped == 1
    with pytest.raises(UserError, match='skip_above must be above 0'):
        SkippingOptimWrapper(torch.optim.SGD(weights, lr=1.0), skip_above=0.0)
