"""What every quantizer keeps with every projector: round trips, folding, saving, shapes, gradients."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Codes, Grid, Positions, Pyramid
from fvq_core.errors import UserError
from fvq_core.ops.identical import identical
from fvq_core.quantizer import Quantizer, QuantizerOutput
from fvq_core.registry import PROJECTORS, QUANTIZERS, describe
from fvq_quantizers import MultiScaleQuantizer
from fvq_quantizers.implicit_quantizer import ImplicitQuantizer

from .matrix import TINY_QUANTIZERS, D, acts_first, build, cases, latents, vectors, without_config

CASES = cases()
every_case = pytest.mark.parametrize('name', list(CASES))


def assert_same(one: QuantizerOutput, other: QuantizerOutput) -> None:
    """Same codes and same values, bit for bit."""
    assert torch.equal(one.codes.indices_BL, other.codes.indices_BL)
    assert one.codes.layout == other.codes.layout
    assert torch.equal(one.z_q_BDHW, other.z_q_BDHW)


def sum_of_scales(quantizer: MultiScaleQuantizer, rows_BLD: Tensor) -> Tensor:
    """The latent of codebook rows by the definition: enlarge, phi, add."""
    total, D = torch.zeros(len(rows_BLD), quantizer.code_dim, 4, 6), quantizer.code_dim
    layout = quantizer.layout(Grid(4, 6)).positions
    rows_BLD = rows_BLD.unflatten(1, (layout.length, -1)).flatten(2)  # values of bits stand side by side
    for scale, rows_BlD in enumerate(rows_BLD.split(layout.lengths, 1)):
        x = rows_BlD.mT.reshape(-1, D, *layout.scales[scale]) * quantizer.code_scales[scale]
        if layout.scales[scale] != (4, 6):
            x = F.interpolate(x, (4, 6), mode=quantizer.interpolation)
        x = x.contiguous()  # the last bits of a convolution may depend on the memory order
        if len(quantizer.phis):
            phi = quantizer.phis[quantizer.phi_of_scale[scale]]
            x = 0.5 * x + 0.5 * F.conv2d(x, phi.weight, phi.bias, padding=1)
        total = total + x
    return total


def upside_down(quantizer: Quantizer) -> Quantizer:
    """The quantizer that does to a mirrored latent what this one does to the latent: its convolutions are mirrored."""
    mirrored = copy.deepcopy(quantizer)
    for module in mirrored.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.copy_(module.weight.flip(2))
    return mirrored


def flip_rows(codes: Codes) -> list[Tensor]:
    """The codes of each grid with its rows in reverse order."""
    if not isinstance(codes.layout.positions, Pyramid):
        return [codes.unflatten().flip(1)]
    slots = codes.layout.slots
    by_scale = codes.indices_BL.split([length * slots for length in codes.layout.positions.lengths], 1)
    return [
        indices.unflatten(1, (*side, slots)).flip(1).flatten(1)
        for indices, side in zip(by_scale, codes.layout.positions.scales, strict=True)
    ]


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
    assert len(output.codes.indices_BL.unique()) > min(3, quantizer.vocabularies[0] - 1)
    assert torch.equal(quantizer.embed(output.codes), output.z_q_BDHW)


@every_case
@torch.no_grad()
def test_quantized_latent_is_the_chosen_rows_of_the_codebook(name: str):
    quantizer = trained_a_little(name)
    output = quantizer(latents())
    rows_BL = quantizer.codebook_indices(output.codes)
    if isinstance(output.codes.layout.positions, Pyramid):
        groups = list(getattr(quantizer, 'quantizers', [quantizer]))
        parts = [sum_of_scales(one, quantizer.codebook()[rows_BL[:, g :: len(groups)]]) for g, one in enumerate(groups)]
        assert torch.equal(output.z_q_BDHW, torch.cat(parts, 1))
        return
    chosen = quantizer.codebook()[rows_BL.view(48, -1)]
    chosen = chosen.unflatten(1, (-1, D // chosen.shape[2])).flatten(2)  # rows of groups of channels stand side by side
    values = chosen[:, 0]
    for d in range(1, chosen.shape[1]):
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
def test_folded_copy_is_built_and_loaded_from_its_description(name: str):
    folded, z = trained_a_little(name).fold(), latents()
    other = QUANTIZERS.build(describe(folded)).eval()
    other.load_state_dict(folded.state_dict())
    assert_same(other(z), folded(z))


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
    assert bool(quantizer.state_dict()) != torch.equal(other(z).z_q_BDHW, quantizer(z).z_q_BDHW)
    other.load_state_dict(quantizer.state_dict())
    assert_same(other(z), quantizer(z))


@every_case
@torch.no_grad()
def test_every_image_of_a_batch_is_quantized_independently_of_its_size(name: str):
    quantizer = trained_a_little(name)
    for height, width in ((4, 6), (1, 5), (1, 1)):
        z = latents(3, height, width)
        whole = quantizer(z)
        assert whole.z_q_BDHW.shape == z.shape
        assert whole.z_BDHW is None if 'Gumbel' in name else whole.z_BDHW.shape == z.shape
        assert whole.codes.layout == quantizer.layout(Grid(height, width))
        whole.codes.layout.check(whole.codes.indices_BL)
        for i in range(3):
            alone = quantizer(z[i : i + 1])
            assert torch.equal(alone.codes.indices_BL[0], whole.codes.indices_BL[i])
            # oneDNN picks the kernel of phi's convolution by the size of the batch
            rounding = 1e-5 if any(isinstance(part, MultiScaleQuantizer) for part in quantizer.modules()) else 0.0
            torch.testing.assert_close(alone.z_q_BDHW[0], whole.z_q_BDHW[i], rtol=rounding, atol=rounding)


@every_case
@torch.no_grad()
def test_codes_lie_at_the_positions_of_their_latents(name: str):
    quantizer, z = trained_a_little(name), latents()
    mirrored = flip_rows(upside_down(quantizer)(z.flip(2)).codes)
    assert torch.equal(torch.cat([m.flatten(1) for m in mirrored], 1), quantizer(z).codes.indices_BL)


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
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
@torch.no_grad()
def test_casting_the_module_moves_no_code(name: str, dtype: torch.dtype):
    quantizer, z = trained_a_little(name), latents()
    expected = quantizer(z)
    assert_same(quantizer.to(dtype)(z), expected)
    assert quantizer.codebook().dtype == torch.float32


@every_case
def test_latent_without_positions_is_refused(name: str):
    for empty in (latents(batch=0), latents(height=0)):
        with pytest.raises(UserError, match='expected at least one image'):
            build(CASES[name])(empty)


@every_case
def test_wrong_number_of_channels_is_refused(name: str):
    for wrong in (latents(dim=D + 1), latents()[0]):
        with pytest.raises(UserError, match=rf'expected \(B, {D}, H, W\) or \(B, {D}, L\), got'):
            build(CASES[name])(wrong)


@pytest.mark.parametrize('name', list(TINY_QUANTIZERS))
@pytest.mark.parametrize(
    ('positions', 'vocabularies'),
    [(Grid(2, 2), (3,)), (Pyramid(((1, 1), (2, 2))), (16, 3)), (Grid(2, 2), (16,) * 5)],
)
def test_codes_of_another_tokenizer_are_refused(name: str, positions: Positions, vocabularies: tuple[int, ...]):
    layout = CodeLayout(positions, vocabularies)
    with pytest.raises(UserError, match=f'{name}: cannot embed'):
        build(CASES[name]).embed(Codes(torch.zeros(1, layout.length, dtype=torch.int64), layout))


@every_case
def test_codes_beyond_the_codebook_are_refused(name: str):
    quantizer = build(CASES[name])
    layout = quantizer.layout(Grid(2, 2))
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
    assert bool(one.losses) != ('FSQ' in name)
    assert not expected.losses
    if one.z_BDHW is not None and not acts_first(quantizer):  # Gumbel draws codes, and has no latent to compare
        assert torch.equal(one.codes.indices_BL, expected.codes.indices_BL)
        if 'reg-vq' not in name:  # there some positions draw the code that is decoded
            torch.testing.assert_close(one.z_q_BDHW, expected.z_q_BDHW)


@every_case
def test_losses_reach_the_latent_and_whatever_is_trainable_and_nothing_else(name: str):
    quantizer, z = build(CASES[name], train=True), latents().requires_grad_()
    output = quantizer(z)
    losses = output.losses
    assert all(loss.dim() == 0 and loss > 0 for key, loss in losses.items() if key != 'entropy')
    total = sum(losses.values())
    implicit = any(isinstance(part, ImplicitQuantizer) for part in quantizer.modules())
    straight = implicit or 'Gumbel' in name or getattr(quantizer, 'residual_losses', 0)
    if straight:  # only z_q trains what a code becomes, or the latent
        total = total + (output.z_q_BDHW * torch.randn_like(z)).sum()
    total.backward()
    assert z.grad.abs().sum() > 0
    trainable = {key for key, p in quantizer.named_parameters() if p.requires_grad}
    reached = {key for key, p in quantizer.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached == trainable
    if any(key.endswith('embedding') for key, _ in quantizer.named_parameters()):
        assert any(word in name for word in ('ema', 'simvq', 'transvq', 'alternating')) != any(
            key.endswith('embedding') for key in trainable
        )


@every_case
def test_a_frozen_quantizer_changes_nothing_of_itself_and_still_teaches_the_latent(name: str):
    quantizer, z = build(CASES[name], train=True), latents().requires_grad_()
    quantizer.freeze()
    before = copy.deepcopy(quantizer.state_dict())
    for _ in range(2):
        output = quantizer(z)
        total = (output.z_q_BDHW * torch.randn_like(z)).sum()
        torch.stack([total, *output.losses.values()]).sum().backward()
    assert identical(quantizer.state_dict(), before)
    assert z.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in quantizer.parameters())


def test_a_quantizer_with_a_projector_of_its_own_must_fold_it_itself():
    class WithoutFold(Quantizer):
        def __init__(self, projector: str) -> None:
            super().__init__()
            self.projector = PROJECTORS.build(dict(type=projector), codebook_size=4, code_dim=D)

    with pytest.raises(UserError, match=r'WithoutFold: override fold\(\), which would keep its LinearProjector'):
        WithoutFold('LinearProjector').fold()
    assert not WithoutFold('IdentityProjector').fold().training  # there is nothing to fold
