"""RCG's representation diffusion and MAGE: closed forms, what they look at, and what they refuse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from fvq_core.codes import Codes, LatentLayout, Latents, Sequence, Targets
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_generators import MAGE, RCG, RepresentationDiffusion
from fvq_generators.diffusion.gaussian_process import GaussianProcess
from fvq_generators.diffusion.samplers import denoise
from fvq_generators.masked.mage_settings import MAGESampling
from fvq_generators.pretrained import load_generator, save_generator
from fvq_generators.representation_diffusion import standardized

VECTOR = dict(type='Sequence', length=1, channels=6)
RDM: dict[str, Any] = dict(
    type='RepresentationDiffusion',
    layout=VECTOR,
    dim=16,
    width=12,
    depth=2,
    time_dim=8,
    num_classes=5,
    class_dim=4,
    steps=40,
)
GRID = dict(type='Grid', height=4, width=4, codebook_size=8)
SMALL: dict[str, Any] = dict(
    type='MAGE', layout=GRID, channels=6, dim=16, depth=1, heads=2, decoder_dim=8, decoder_depth=1
)


def rdm(**changed: Any) -> RepresentationDiffusion:
    return randomized(GENERATORS.build({**RDM, **changed}))


def mage(**changed: Any) -> MAGE:
    return randomized(GENERATORS.build({**SMALL, **changed}))


def randomized(model: Any) -> Any:
    """With weights of which none is 0."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def representations(count: int) -> Tensor:
    return standardized(torch.randn(count, 6, generator=torch.Generator().manual_seed(3)))


def test_vectors_are_standardized_each_on_its_own():
    x = torch.tensor([[1.0, 2.0, 3.0], [7.0, 7.0, 7.0]])
    found = standardized(x)
    torch.testing.assert_close(found, torch.tensor([[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(standardized(5 * found + 2), found)


def test_the_strided_process_leaves_the_noise_of_the_first_step():
    process = GaussianProcess('sqrt_linear', 1000, 'data', learned_variance=False)
    fewer = process.strided(250)
    assert fewer.times == list(range(1, 1000, 4))
    assert fewer.before_T[0] == process.signal_T[0]
    torch.testing.assert_close(fewer.signal_T, process.signal_T[1::4])
    assert process.strided(1000).times == list(range(1, 1000)), 'there is no step behind the last'
    # A network that knows the data: the end of the chain is the data and what noise of step 0 leaves.
    x, data = torch.zeros(20_000, 1), torch.full((20_000, 1), 3.0)
    torch.manual_seed(0)
    (*_, (end, _)) = denoise(process.strided(5), lambda x, t: data, x, lambda _: torch.randn_like(x), 'ddim', 1.0)
    kept = process.signal_T[0].item()
    assert end.mean().item() == pytest.approx(math.sqrt(kept) * 3, abs=2e-3)
    assert end.std().item() == pytest.approx(math.sqrt(1 - kept), rel=0.05)


def test_a_representation_depends_on_its_seed_and_class_only():
    model = rdm()
    three = model.sample(torch.tensor([0, 4, 2]), seeds=[5, 6, 7], steps=5)
    assert three.layout.positions == Sequence(1)
    assert three.values.shape == (3, 6, 1)
    alone = model.sample(torch.tensor([4]), seeds=[6], steps=5).values
    torch.testing.assert_close(three.values[1:2], alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model.sample(torch.tensor([4]), seeds=[8], steps=5).values, alone)
    assert not torch.allclose(model.sample(torch.tensor([1]), seeds=[6], steps=5).values, alone)
    assert model.sample(torch.tensor([], dtype=torch.int64), steps=5).values.shape == (0, 6, 1)
    assert model.training, 'as it was'
    blind = rdm(num_classes=None)
    same = [blind.sample(torch.tensor([label]), seeds=[6], steps=5).values for label in (0, 700)]
    assert torch.equal(*same), 'an unconditional model takes any class'


def test_the_loss_is_of_standardized_vectors():
    model = GENERATORS.build(RDM)  # its output starts as 0
    latents = Latents(30 + 4 * torch.randn(4000, 6, 1), model.layout)
    loss = model.loss(Targets(latents=latents), torch.randint(5, (4000,)))
    assert list(loss) == ['mse']
    assert loss['mse'].item() == pytest.approx(5 / 6, rel=1e-4), 'of unbiased standard deviation 1'


def test_mage_looks_at_no_hidden_code_and_at_no_dropped_one():
    model = mage(attention_dropout=0.0, dropout=0.0).eval()
    hidden, dropped = model.draw_hidden(2, torch.device('cpu'))
    assert (dropped.sum(1) == 8).all()
    assert (hidden | ~dropped).all(), 'what is dropped is hidden'
    codes, other = torch.randint(8, (2, 16)), torch.randint(8, (2, 16))
    rep = model.condition(representations(2))
    seen = [model.decode(model.encode(each, hidden, dropped, rep), hidden, dropped) for each in (codes, other)]
    known = torch.where(hidden, other, codes)
    assert torch.equal(seen[0], model.decode(model.encode(known, hidden, dropped, rep), hidden, dropped))
    assert hidden.all() or not torch.equal(*seen)
    assert {int(model.draw_hidden(1, torch.device('cpu'))[0].sum()) for _ in range(50)} <= set(range(8, 17))


def test_the_head_does_not_teach_the_codes():
    model = mage(attention_dropout=0.0, dropout=0.0, least_masked=1.0)  # all are dropped: no code is looked at
    loss = model.loss(Targets(Codes(torch.randint(8, (4, 16)), model.layout)), representations(4))['cross_entropy']
    loss.backward()
    assert model.codes.table.weight.grad is None or not model.codes.table.weight.grad.any()
    assert model.head_bias.grad is not None
    assert model.head_bias.grad.any()


def test_weights_of_images_and_the_shape_of_stored_features():
    model = mage(attention_dropout=0.0, dropout=0.0, cond_dropout=0.0)
    codes, reps = torch.randint(8, (2, 16)), representations(2)

    def loss(codes: Tensor, reps: Tensor, *rest: Any) -> Tensor:
        torch.manual_seed(1)
        return model.loss(Targets(Codes(codes, model.layout)), reps, *rest)['cross_entropy']

    stored = 3 * reps[:, None] + 1  # as a store of features of one vector has them
    torch.testing.assert_close(loss(codes, stored), loss(codes, reps))
    once = loss(codes, reps, None, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(once, loss(torch.cat([codes[:1], codes[:1] * 0]), reps, None, torch.tensor([1.0, 0.0])))


def test_codes_depend_on_seed_and_representation_only():
    model, reps = mage(), representations(3)
    three = model.sample(reps, seeds=[5, 6, 7], cfg_scale=3.0, steps=4)
    assert three.layout == model.layout
    alone = model.sample(reps[1:2, None], seeds=[6], cfg_scale=3.0, steps=4)
    assert torch.equal(three.indices_BL[1:2], alone.indices_BL)
    assert not torch.equal(model.sample(reps[1:2], seeds=[8], cfg_scale=3.0, steps=4).indices_BL, alone.indices_BL)
    assert three.indices_BL.max() < 8
    assert len(model.sample(reps[:0])) == 0
    assert model.training


def test_given_codes_are_kept():
    model, reps = mage(), representations(2)
    given = Codes(torch.randint(8, (2, 16)), model.layout)
    keep = torch.rand(2, 16) < 0.5
    options: dict[str, Any] = dict(given=given, keep_BL=keep, seeds=[1, 2], steps=4)
    for order in ('confidence', 'halton'):
        drawn = model.sample(reps, order=order, **options).indices_BL
        assert torch.equal(drawn[keep], given.indices_BL[keep])
        assert not torch.equal(drawn, given.indices_BL)
    whole = rcg()
    drawn = whole.sample(torch.tensor([0, 1]), representation_steps=5, **options).indices_BL
    assert torch.equal(drawn[keep], given.indices_BL[keep])


def test_guidance_has_its_whole_scale_in_the_last_pass():
    plan = MAGESampling.of(dict(steps=4, cfg_scale=7.0)).plan('cosine', 16)
    assert [step.scale for step in plan] == [2.5, 4.0, 5.5, 7.0], 'conditional + 6 i / n (conditional - unconditional)'
    assert [step.noise for step in plan] == [4.5, 3.0, 1.5, 0.0]
    assert len(MAGESampling().plan('cosine', 256)) == 20


def rcg() -> RCG:
    parts = {
        name: {key: value for key, value in config.items() if key not in ('layout', 'channels')}
        for name, config in dict(representation=RDM, mage=SMALL).items()
    }
    return randomized(GENERATORS.build(dict(type='RCG', layout=GRID, channels=6, **parts)))


def test_rcg_draws_a_representation_and_then_its_codes():
    model, cond = rcg(), torch.tensor([0, 4, 2])
    options: dict[str, Any] = dict(steps=4, representation_steps=5, cfg_scale=3.0)
    three = model.sample(cond, seeds=[5, 6, 7], **options)
    assert torch.equal(model.sample(cond[1:2], seeds=[6], **options).indices_BL, three.indices_BL[1:2])
    reps = model.representation.sample(cond, seeds=[5, 6, 7], steps=5).values[..., 0]
    with patch.object(MAGE, 'sample', wraps=model.mage.sample) as asked:
        model.sample(cond, seeds=[5, 6, 7], **options)
    assert torch.equal(asked.call_args.args[0], reps)
    assert not set(asked.call_args.kwargs['seeds']) & {5, 6, 7}, 'other numbers than the representation had'
    assert model.num_classes == 5
    for settings, message in ((dict(steps=17), '17 steps'), (dict(representation_steps=41), 'expected 1 to 40 steps')):
        with pytest.raises(UserError, match=message):
            model.sample(cond, **settings)


def test_two_that_were_trained_apart_are_joined(tmp_path: Path):
    one, other = rdm(), mage()
    joined = RCG.of(one, other)
    saved, _ = load_generator(save_generator(joined, joined.state_dict(), tmp_path / 'rcg'))
    options: dict[str, Any] = dict(seeds=[5], steps=4, representation_steps=5)
    drawn = [model.sample(torch.tensor([3]), **options) for model in (joined, saved)]
    assert drawn[0] == drawn[1]
    for part, own in ((one, joined.representation), (other, joined.mage)):
        assert all(torch.equal(value, own.state_dict()[key]) for key, value in part.state_dict().items())
    with pytest.raises(UserError, match='have 6 channels, those that MAGE looks at 7'):
        RCG.of(one, mage(channels=7))


def test_rcg_learns_both_from_a_batch_with_representations():
    model = rcg()
    codes, labels = torch.randint(8, (4, 16)), torch.arange(4)
    batch = dict(codes=codes, labels=labels, captions=torch.randn(4, 1, 6))
    targets = model.targets(batch)
    assert targets.latents is not None
    assert torch.equal(targets.latents.values[..., 0], batch['captions'][:, 0])
    losses = model.loss(targets, labels)
    assert set(losses) == {'cross_entropy', 'mse'}
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())

    def weighted(last: float) -> dict[str, Tensor]:
        captions = torch.cat([batch['captions'][:3], torch.full((1, 1, 6), last)])
        torch.manual_seed(1)
        return model.eval().loss(
            model.targets({**batch, 'captions': captions}), labels, None, torch.tensor([1.0, 1.0, 1.0, 0.0])
        )

    torch.testing.assert_close(weighted(0.0), weighted(9.0))  # an image without a representation counts for nothing
    with pytest.raises(UserError, match="the batch has no 'captions'"):
        model.targets(dict(codes=codes, labels=labels))
    with pytest.raises(UserError, match='got no representations'):
        model.loss(Targets(Codes(codes, model.layout)), labels)


@pytest.mark.parametrize(
    ('config', 'changed', 'message'),
    [
        (RDM, dict(layout=dict(type='Sequence', length=2, channels=6)), 'one vector an image'),
        (RDM, dict(layout=dict(type='Grid', height=1, width=1, channels=6)), 'takes a Sequence|Sequence'),
        (RDM, dict(depth=0), 'depth'),
        (RDM, dict(num_classes=0), 'num_classes'),
        (SMALL, dict(layout=LatentLayout(Sequence(1), 6)), 'takes codes'),
        (SMALL, dict(least_masked=0.0), 'needs 0 < least_masked'),
        (SMALL, dict(cond_dropout=1.0), r'cond_dropout must lie in \[0, 1\)'),
    ],
)
def test_what_cannot_be_built(config: dict[str, Any], changed: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message) as error:
        GENERATORS.build({**config, **changed})
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('cond', 'settings', 'message'),
    [
        (torch.zeros(2, 5), {}, r'representations are float vectors \(B, 6\), got torch.float32 of shape \(2, 5\)'),
        (torch.tensor([1, 2]), {}, 'representations are float vectors'),
        (torch.full((1, 6), math.nan), {}, 'the representations'),
        (torch.zeros(1, 6), dict(steps=17), '17 steps for the 16 codes'),
    ],
)
def test_what_mage_cannot_draw(cond: Tensor, settings: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message) as error:
        mage().sample(cond, **settings)
    assert '\n' not in str(error.value)


def test_what_needs_other_training_or_more_steps():
    with pytest.raises(UserError, match='needs a model that was trained with cond_dropout'):
        mage(cond_dropout=0.0).sample(representations(1), cfg_scale=2.0)
    with pytest.raises(UserError, match='expected 1 to 40 steps'):
        rdm().sample(torch.tensor([0]), steps=41)
    with pytest.raises(UserError, match='class 5 is out of range'):
        rdm().sample(torch.tensor([5]))
