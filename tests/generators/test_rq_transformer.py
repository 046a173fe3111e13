"""RQ-Transformer: stacks of codes, soft targets, the released layout, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq.commands import convert
from fvq_core.codes import Codes, Targets
from fvq_core.errors import UserError
from fvq_core.files.json import read_json_object
from fvq_core.images import from_uint8, to_uint8
from fvq_core.registry import GENERATORS, QUANTIZERS
from fvq_generators import RQTransformer
from fvq_generators.binding import bind_checked
from fvq_generators.image_generator import ImageGenerator
from fvq_generators.pretrained import load_generator
from tests.tiny import build_from_peer

from ..tiny import random_images, tiny_tokenizer

QUANTIZER = dict(type='VectorQuantizer', codebook_size=16, code_dim=8)
RESIDUAL = dict(type='ResidualQuantizer', quantizer=QUANTIZER, depth=3)
APART = dict(RESIDUAL, shared=False, codebook_sizes=[16, 12, 9])
GRID = dict(type='Grid', height=2, width=3, codebook_size=[16] * 3)
UNEVEN = dict(GRID, codebook_size=[16, 12, 9])
KINDS: dict[str, dict[str, Any]] = {
    'classes': {},
    'guided': dict(cond_dropout=0.1),
    'tables': dict(
        layout=UNEVEN,
        body_input='table',
        head_input='table',
        shared_table=False,
        shared_classifier=False,
        cumulative=False,
    ),
    'one table': dict(body_input='table', cumulative=False),
    'text': dict(num_classes=7, text_tokens=4),
}
COND = torch.tensor([0, 3, 4])
SETTINGS = dict(temperature=0.9, top_k=7)


def build(kind: str = 'classes', **changes: Any) -> RQTransformer:
    """In eval mode, bound, with weights so large that every code and place shows in the logits."""
    torch.manual_seed(0)
    config = dict(layout=GRID, code_dim=8, dim=16, depth=2, head_depth=1, heads=2, num_classes=5, residual_dropout=0.0)
    generator = GENERATORS.build({'type': 'RQTransformer', **config, **KINDS[kind], **changes})
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    quantizer = QUANTIZERS.build(APART if kind == 'tables' else RESIDUAL).eval()
    generator.bind(quantizer)
    return cast(RQTransformer, generator.eval())


def conditions(generator: RQTransformer, count: int = 3) -> Tensor:
    T = generator.condition.tokens
    return COND[:count] if T == 1 else torch.arange(count * T).view(count, T) % generator.num_classes


def random_codes(generator: RQTransformer, count: int = 3) -> Codes:
    rng, slots = torch.Generator().manual_seed(1), generator.layout.slots
    columns = [
        torch.randint(generator.layout.vocabularies[number % slots], (count,), generator=rng)
        for number in range(generator.layout.length)
    ]
    return Codes(torch.stack(columns, 1), generator.layout)


@torch.no_grad()
def whole_logits(generator: RQTransformer, codes: Codes, cond: Tensor) -> list[Tensor]:
    """The logits of every code in order, from one pass over all."""
    x_BNdD, _ = generator.features(codes.indices_BL, cond)
    N, slots = x_BNdD.shape[1:3]
    return [generator.classifier(x_BNdD[:, n, d], d) for n in range(N) for d in range(slots)]


@pytest.mark.parametrize('kind', KINDS)
def test_drawing_with_caches_reads_the_logits_of_a_whole_pass(kind: str):
    generator = build(kind)
    cond, codes, seen = conditions(generator), random_codes(generator), []
    fed = iter(codes.indices_BL.unbind(1))

    def feed(logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
        seen.append(logits_BV)
        return next(fed)

    assert torch.equal(generator.sample(cond, pick=feed).indices_BL, codes.indices_BL)
    wanted = whole_logits(generator, codes, cond)
    for got, want in zip(seen, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    if kind == 'guided':
        seen.clear()
        fed = iter(codes.indices_BL.unbind(1))
        generator.sample(cond, pick=feed, cfg_scale=2.5)
        free = whole_logits(generator, codes, generator.condition.null(cond))
        for got, with_class, without in zip(seen, wanted, free, strict=True):
            torch.testing.assert_close(got, without + 2.5 * (with_class - without), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_a_sample_depends_on_its_seed_and_condition_only(kind: str):
    generator = build(kind)
    cond = conditions(generator)
    together = generator.sample(cond, seeds=[5, 6, 7], **SETTINGS)
    together.layout.check(together.indices_BL)
    alone = [generator.sample(cond[i : i + 1], seeds=[5 + i], **SETTINGS).indices_BL for i in range(3)]
    assert torch.equal(together.indices_BL, torch.cat(alone))
    assert not torch.equal(together.indices_BL, generator.sample(cond, seeds=[8, 9, 10], **SETTINGS).indices_BL)
    assert generator.sample(cond[:0], **SETTINGS).indices_BL.shape == (0, 18)


def test_kept_codes_stay_and_those_behind_follow_them():
    generator = build()
    given = random_codes(generator)
    keep_BL = torch.zeros(3, 18, dtype=torch.bool)
    keep_BL[:, :6] = True
    keep_BL[0, 7] = True
    drawn = generator.sample(COND, seeds=[1, 2, 3], given=given, keep_BL=keep_BL)
    assert torch.equal(drawn.indices_BL[keep_BL], given.indices_BL[keep_BL])
    assert not torch.equal(drawn.indices_BL, given.indices_BL)
    greedy = generator.sample(COND, given=given, keep_BL=keep_BL, temperature=0)
    for number, logits in enumerate(whole_logits(generator, greedy, COND)):
        best = logits.argmax(-1)
        assert torch.equal(
            torch.where(keep_BL[:, number], given.indices_BL[:, number], best), greedy.indices_BL[:, number]
        )
    with pytest.raises(UserError, match=r'keep_BL is a bool tensor \(3, 18\)'):
        generator.sample(COND, given=given, keep_BL=keep_BL[:, 1:])


@pytest.mark.parametrize('kind', ['classes', 'tables'])
def test_the_loss_is_the_cross_entropy_of_all_codes(kind: str):
    generator = build(kind, loss_rows=5)
    codes = random_codes(generator)
    logits = whole_logits(generator, codes, COND)
    each = [F.cross_entropy(one, codes.indices_BL[:, number]) for number, one in enumerate(logits)]
    torch.testing.assert_close(generator.loss(Targets(codes), COND)['cross_entropy'], torch.stack(each).mean())
    soft = torch.zeros(3, 18, 16).scatter(2, codes.indices_BL[..., None], 1.0)
    losses = generator.loss(Targets(codes, soft), COND)
    assert list(losses) == ['soft_cross_entropy']
    torch.testing.assert_close(losses['soft_cross_entropy'], torch.stack(each).mean())
    losses['soft_cross_entropy'].backward()
    gradients = {name: parameter.grad for name, parameter in generator.named_parameters()}
    generator.zero_grad()
    generator.loss(Targets(codes), COND)['cross_entropy'].backward()
    for name, parameter in generator.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_images_give_soft_targets_in_training_and_the_nearest_codes_in_evaluation():
    tokenizer = tiny_tokenizer({**RESIDUAL, 'quantizer': {**QUANTIZER, 'code_dim': 8}}).fold()
    generator = build()
    bind_checked(generator, tokenizer)
    batch = {'images': to_uint8(random_images(2, 4, 6))}
    torch.manual_seed(3)
    one = generator.train().targets(batch, tokenizer)
    torch.manual_seed(3)
    again = generator.targets(batch, tokenizer)
    other = generator.targets(batch, tokenizer)
    assert one.soft is not None
    assert one.codes is not None
    assert torch.equal(one.codes.indices_BL, cast(Codes, again.codes).indices_BL)
    assert not torch.equal(one.codes.indices_BL, cast(Codes, other.codes).indices_BL), 'drawn again each time'
    torch.testing.assert_close(one.soft.sum(-1), torch.ones(2, 18))
    hard = generator.eval().targets(batch, tokenizer)
    assert hard.soft is None
    assert torch.equal(cast(Codes, hard.codes).indices_BL, tokenizer.encode(from_uint8(batch['images'])).indices_BL)
    nearest = build(soft_temperature=None).train()
    bind_checked(nearest, tokenizer)
    assert nearest.targets(batch, tokenizer).soft is None


def test_it_learns_stacks_by_heart_and_draws_them(tmp_path: Path):
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer({**RESIDUAL, 'quantizer': {**QUANTIZER, 'code_dim': 8}}).fold()
    generator = GENERATORS.build(
        dict(type='RQTransformer', layout=GRID, code_dim=8, dim=32, depth=1, head_depth=1, heads=2, num_classes=5)
    )
    bind_checked(generator, tokenizer)
    codes, cond = random_codes(generator, 5), torch.arange(5)
    optimizer = torch.optim.AdamW(generator.parameters(), lr=1e-2)
    for _ in range(120):
        loss = generator.loss(Targets(codes), cond)['cross_entropy']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert torch.equal(generator.sample(cond, temperature=0).indices_BL, codes.indices_BL)
    model = ImageGenerator(generator.eval(), tokenizer)
    folder = model.save_pretrained(tmp_path / 'saved')
    loaded = ImageGenerator.from_pretrained(folder)
    assert torch.equal(loaded.sample([1, 2], seeds=[1, 2]), model.sample([1, 2], seeds=[1, 2]))


def peer_state(state: dict[str, Tensor], offsets: bool) -> dict[str, Tensor]:
    """The weights under the keys of the release."""
    found: dict[str, Tensor] = {}
    tables = [value for key, value in state.items() if key.startswith('embedding.tables.')]
    if tables:
        found['tok_emb.weight'] = torch.cat(tables)
    if offsets:
        found['tok_emb.offsets'] = torch.tensor([0, 16, 28])
    maps = {
        kind: [v for k, v in state.items() if k.startswith('classifier.maps.') and k.endswith(kind)]
        for kind in ('weight', 'bias')
    }
    V = max(map(len, maps['weight']))
    for kind, every in maps.items():
        if len(every) == 1:
            found[f'classifier.linear.{kind}'] = every[0]
        else:
            padded = [F.pad(each.T if kind == 'weight' else each, (0, V - len(each))) for each in every]
            found[f'classifier.linear.{kind}'] = torch.stack(padded)
    places = {'condition_positions': 'pos_emb_cond', 'positions': 'pos_emb_hw', 'depth_positions': 'pos_emb_d'}
    for key, value in state.items():
        if key in places:
            found[places[key]] = value[None]
        elif '.attention.qkv.' in key:
            for name, part in zip(('query', 'key', 'value'), value.chunk(3), strict=True):
                head, layer, _, _, kind = key.split('.')
                found[f'{head}_transformer.blocks.{layer}.attn.{name}.{kind}'] = part
        elif key.startswith(('body.', 'head.')):
            half, layer, rest = key.split('.', 2)
            rest = rest.replace('attention_norm', 'ln1').replace('ffn_norm', 'ln2').replace('ffn', 'mlp')
            found[f'{half}_transformer.blocks.{layer}.{rest.replace("attention.out", "attn.proj")}'] = value
        elif key.startswith('classifier.norm.'):
            found[key.replace('.norm.', '.layer_norm.')] = value
        elif key.startswith('text_'):
            key = key.replace('text_norm', 'cond_classifier.layer_norm')
            found[key.replace('text_classifier', 'cond_classifier.linear')] = value
        elif not key.startswith(('embedding.tables.', 'classifier.maps.')):
            key = key.replace('condition.table', 'cond_emb').replace('embedding.body_map', 'input_mlp')
            found[key.replace('embedding.head_map', 'head_mlp')] = value
    return found


@pytest.mark.parametrize('kind', [kind for kind in KINDS if kind != 'guided'])
def test_a_released_file_becomes_the_same_model(kind: str, tmp_path: Path):
    generator = build(kind)
    state = peer_state(generator.state_dict(), offsets=kind == 'tables')
    options: dict[str, Any] = dict(heads=2, grid=(2, 3))
    if kind == 'tables':
        options |= dict(vocabularies=[16, 12, 9], cumulative=False)
    elif kind == 'one table':
        options |= dict(cumulative=False)
    found = build_from_peer('rq-transformer', state, **options)
    found.bind(generator.quantizer)
    cond = conditions(generator)
    assert torch.equal(
        found.eval().sample(cond, seeds=[1, 2, 3]).indices_BL, generator.sample(cond, seeds=[1, 2, 3]).indices_BL
    )
    if kind != 'classes':
        return
    torch.save({'state_dict': state}, tmp_path / 'model.pt')
    call = ['rq-transformer', str(tmp_path / 'model.pt'), str(tmp_path / 'out'), '--heads', '2', '--grid', '2', '3']
    assert convert.main(call) == 0
    loaded, _ = load_generator(tmp_path / 'out')
    assert loaded.state_dict().keys() == generator.state_dict().keys()
    assert read_json_object(tmp_path / 'out/config.json')['sampling'] == {'top_p': 0.92}, 'of the release'
    assert loaded.likelihood
    assert not build('text').likelihood
    for wrong, message in (
        (dict(grid=None), '6 positions are not 2 x 2; give rows and columns'),
        (dict(heads=3), '3 heads do not divide 16 channels'),
        (dict(vocabularies=[16, 16]), '3 depths need as many vocabularies'),
    ):
        with pytest.raises(UserError, match=message):
            build_from_peer('rq-transformer', state, **{**options, **wrong})


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(layout=dict(type='Pyramid', scales=[[1, 1], [2, 2]], codebook_size=[8, 8])), 'takes a Grid or Sequence'),
        (dict(layout=UNEVEN), r'\[16, 12, 9\] codes cannot share a classifier'),
        (dict(layout=UNEVEN, shared_classifier=False, head_input='table'), 'codes cannot share a table'),
        (dict(body_input='codes'), "unknown body_input 'codes'"),
        (dict(soft_temperature=0.0), 'soft_temperature must be above 0'),
        (dict(text_tokens=3, cond_dropout=0.1), 'cond_dropout drops classes'),
        (dict(cond_dropout=1.0), r'cond_dropout must lie in \[0, 1\)'),
        (dict(heads=3), 'heads must divide dim'),
    ],
)
def test_what_it_cannot_be_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        build(**changes)


def test_what_it_cannot_use_is_refused():
    generator = build()
    with pytest.raises(UserError, match='have 4 channels, the model is made for 8; set'):
        generator.bind(QUANTIZERS.build({**RESIDUAL, 'quantizer': {**QUANTIZER, 'code_dim': 4}}))
    product = dict(type='ProductQuantizer', quantizer=QUANTIZER, groups=3)
    with pytest.raises(
        UserError, match='RQTransformer needs a quantizer that follows DepthCodes, got ProductQuantizer'
    ):
        bind_checked(generator, tiny_tokenizer(product).fold())
    with pytest.raises(UserError, match=r'cfg_scale 2\.0 needs a model that was trained with cond_dropout'):
        generator.sample(COND, cfg_scale=2.0)
    unbound = GENERATORS.build(dict(type='RQTransformer', layout=GRID, code_dim=8, dim=16, heads=2))
    with pytest.raises(UserError, match='needs the quantizer of its tokenizer'):
        unbound.sample(COND)
    text = build('text')
    with pytest.raises(UserError, match=r'texts are whole numbers \(B, 4\)'):
        text.sample(COND)
    with pytest.raises(UserError, match='tokens of a text lie in 0 to 6, got 0 to 9'):
        text.sample(torch.full((1, 4), 9) * torch.tensor([0, 1, 1, 1]))
