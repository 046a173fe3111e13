"""What every quantizer keeps with every projector: round trips, folding, saving, shapes, gradients."""

from __future__ import annotations

import copy

import pytest
import torch

from fvq_core.codes import Codes, Grid, ProductGrid, ResidualGrid, ScalePyramid
from fvq_core.errors import UserError
from fvq_core.quantizer import Quantizer, QuantizerOutput
from fvq_core.registry import PROJECTORS

from .matrix import TINY_QUANTIZERS, D, build, cases, latents, vectors, without_config

CASES = cases()
every_case = pytest.mark.parametrize('name', list(CASES))


def assert_same(one: QuantizerOutput, other: QuantizerOutput) -> None:
    """Same codes and same values, bit for bit."""
    assert torch.equal(one.codes.indices_BL, other.codes.indices_BL)
    assert one.codes.layout == other.codes.layout
    assert torch.equal(one.z_q_BDHW, other.z_q_BDHW)


def trained_a_little(name: str) -> Quantizer:
    """In eval mode after one training step, so that buffers and caches are in use."""
    quantizer = build(CASES[name], train=True)
    quantizer(latents())
    return quantizer.eval()


@pytest.mark.parametrize('kind', ['quantizer', 'projector'])
def test_every_registered_name_has_a_tiny_config(kind: str):
    missing = without_config(kind)
    assert not missing, f'add {sorted(missing)} to TINY_{kind.upper()}S in tests/quantizers/matrix.py'


def test_name_without_a_tiny_config_is_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(PROJECTORS._module_dict, 'NovelProjector', object)
    assert without_config('projector') == {'NovelProjector'}


@every_case
@torch.no_grad()
def test_embedding_the_codes_gives_the_quantized_latent_bit_for_bit(name: str):
    quantizer = trained_a_little(name)
    output = quantizer(latents())
    assert len(output.codes.indices_BL.unique()) > 3
    assert torch.equal(quantizer.embed(output.codes), output.z_q_BDHW)


@every_case
@torch.no_grad()
def test_quantized_latent_is_the_chosen_rows_of_the_codebook(name: str):
    quantizer = trained_a_little(name)
    output = quantizer(latents())
    rows_BL = quantizer.rows(output.codes)
    depth = rows_BL.shape[1] // 24
    chosen = quantizer.codebook()[rows_BL.view(-1, depth)]
    values = chosen[:, 0]
    for d in range(1, depth):
        values = values + chosen[:, d]
    assert torch.equal(vectors(output.z_q_BDHW), values)


@every_case
@torch.no_grad()
def test_folding_changes_no_code_and_no_value(name: str):
    quantizer, z = trained_a_little(name), latents()
    folded = quantizer.fold()
    assert_same(quantizer(z), folded(z))
    assert_same(folded(z), folded.fold()(z))
    assert torch.equal(folded.codebook(), quantizer.codebook())
    assert not [key for key in folded.state_dict() if 'projector' in key]
    assert not folded.training


@every_case
@torch.no_grad()
def test_folded_copy_shares_no_weight_with_the_original(name: str):
    quantizer, z = trained_a_little(name), latents()
    state, before = copy.deepcopy(quantizer.state_dict()), quantizer(z)
    folded = quantizer.fold()
    for tensor in folded.state_dict().values():
        tensor.add_(1)
    assert all(torch.equal(value, state[key]) for key, value in quantizer.state_dict().items())
    assert_same(quantizer(z), before)


@every_case
@torch.no_grad()
def test_state_dict_carries_everything(name: str):
    quantizer, z = trained_a_little(name), latents()
    other = build(CASES[name])
    assert not torch.equal(other(z).z_q_BDHW, quantizer(z).z_q_BDHW)
    other.load_state_dict(quantizer.state_dict())
    assert_same(other(z), quantizer(z))


@every_case
@torch.no_grad()
def test_every_image_of_a_batch_is_quantized_alone_whatever_its_sides(name: str):
    quantizer = trained_a_little(name)
    for height, width in ((4, 6), (1, 5), (1, 1)):
        z = latents(3, height, width)
        whole = quantizer(z)
        assert whole.z_q_BDHW.shape == whole.z_BDHW.shape == z.shape
        assert whole.codes.layout == quantizer.layout(height, width)
        whole.codes.layout.check(whole.codes.indices_BL)
        for i in range(3):
            alone = quantizer(z[i : i + 1])
            assert torch.equal(alone.codes.indices_BL[0], whole.codes.indices_BL[i])
            assert torch.equal(alone.z_q_BDHW[0], whole.z_q_BDHW[i])


@every_case
@torch.no_grad()
def test_codes_lie_at_the_positions_of_their_latents(name: str):
    quantizer, z = trained_a_little(name), latents()
    upside_down = quantizer(z.flip(2))
    assert torch.equal(upside_down.codes.unflatten().flip(1), quantizer(z).codes.unflatten())


@every_case
@torch.no_grad()
def test_bfloat16_latents_are_quantized_in_float32(name: str):
    quantizer, z = trained_a_little(name), latents().bfloat16()
    expected = quantizer(z.float())
    assert_same(quantizer(z), expected)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert_same(quantizer(z), expected)
    assert expected.z_q_BDHW.dtype == torch.float32


@every_case
def test_wrong_number_of_channels_is_refused(name: str):
    for wrong in (latents(dim=D + 1), latents()[0]):
        with pytest.raises(UserError, match=rf'expected \(B, {D}, H, W\), got'):
            build(CASES[name])(wrong)


@pytest.mark.parametrize('name', list(TINY_QUANTIZERS))
@pytest.mark.parametrize('layout', [Grid(2, 2, 3), ScalePyramid(((1, 1), (2, 2)), 16), ProductGrid(2, 2, (16, 16))])
def test_codes_of_another_tokenizer_are_refused(name: str, layout: Grid | ScalePyramid | ProductGrid):
    with pytest.raises(UserError, match='Quantizer: cannot embed'):
        build(CASES[name]).embed(Codes(torch.zeros(1, layout.length, dtype=torch.int64), layout))


@every_case
def test_codes_beyond_the_codebook_are_refused(name: str):
    quantizer = build(CASES[name])
    layout = quantizer.layout(2, 2)
    assert isinstance(layout, Grid | ResidualGrid)
    codes = Codes(torch.full((1, layout.length), layout.vocab_size), layout)
    with pytest.raises(UserError, match='codes must lie in'):
        quantizer.embed(codes)


@every_case
def test_training_is_deterministic_and_forward_values_are_those_of_eval(name: str):
    z = latents()
    quantizer = build(CASES[name], train=True)
    twin = copy.deepcopy(quantizer)
    with torch.no_grad():
        expected = copy.deepcopy(quantizer).eval()(z)
    torch.manual_seed(1)
    one = quantizer(z)
    torch.manual_seed(1)
    assert_same(one, twin(z))
    assert all(
        torch.equal(a, b) for a, b in zip(quantizer.state_dict().values(), twin.state_dict().values(), strict=True)
    )
    assert one.losses
    assert not expected.losses
    if 'ema' not in name:
        assert torch.equal(one.codes.indices_BL, expected.codes.indices_BL)
        torch.testing.assert_close(one.z_q_BDHW, expected.z_q_BDHW)


@every_case
def test_losses_reach_the_latent_and_whatever_is_trainable_and_nothing_else(name: str):
    quantizer, z = build(CASES[name], train=True), latents().requires_grad_()
    losses = quantizer(z).losses
    assert all(loss.dim() == 0 and loss > 0 for key, loss in losses.items() if key != 'entropy')
    sum(losses.values()).backward()
    assert z.grad.abs().sum() > 0
    trainable = {key for key, p in quantizer.named_parameters() if p.requires_grad}
    reached = {key for key, p in quantizer.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached == trainable
    assert ('ema' in name or 'simvq' in name) != any(key.endswith('embedding') for key in trainable)
