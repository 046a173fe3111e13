"""What is measured before an export takes its place, and that a refused one leaves nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from fvq.commands import export
from fvq.exports.compare import BATCH, Comparison, crops
from fvq.exports.files import finish, judge, new_folder
from fvq.exports.graphs import Sizes
from fvq.exports.near_ties import gaps
from fvq_core.codes import Codes, Grid
from fvq_core.errors import UserError
from tests.quantizers.matrix import AXES, TINY_QUANTIZERS, VARIANTS, VECTOR, D, K, build, vectors
from tests.tiny import tiny_tokenizer

GOOD = Comparison(crops=60, codes=1000, different=0.0, largest_gap=0.0, pixels=1e-6, moments=0.0, half=False)
KINDS: dict[str, dict[str, Any]] = {
    **{name: {'type': name, **options} for name, options in TINY_QUANTIZERS.items()},
    **{name: VARIANTS[name] for name in ('LFQ, two codes', 'FSQ, symmetric', 'ProductQuantizer, shared')},
    **{name: dict(VECTOR, **AXES[name]) for name in ('llamagen', 'cosine', 'ibq')},
}


@pytest.mark.parametrize('name', KINDS)
def test_other_codes_have_a_gap_and_equal_ones_none(name: str) -> None:
    torch.manual_seed(0)
    quantizer, z = build(KINDS[name]), torch.randn(3, D, 4, 6)
    ours = quantizer(z).codes
    assert gaps(quantizer, z, ours, ours).numel() == 0
    changed = ours.indices_BL.clone()
    last = changed[1, -1]
    changed[1, -1] = (last + 1) % ours.layout.vocabularies[-1]
    found = gaps(quantizer, z, ours, Codes(changed, ours.layout))
    assert found.shape == (1,)
    assert found.item() > 0


def test_the_gap_of_a_vector_quantizer_is_that_of_the_two_distances() -> None:
    torch.manual_seed(0)
    quantizer, z = build(VECTOR), torch.randn(1, D, 2, 2)
    ours = quantizer(z).codes
    theirs = Codes((ours.indices_BL + 5) % K, ours.layout)
    code = quantizer.codebook().double()
    first, second = ((vectors(z).double() - code[each.indices_BL[0]]).norm(dim=1) for each in (ours, theirs))
    torch.testing.assert_close(gaps(quantizer, z, ours, theirs), second / first - 1)


def test_a_latent_between_two_codes_is_a_near_tie() -> None:
    torch.manual_seed(0)
    quantizer = build(VECTOR)
    code = quantizer.codebook()
    z = ((code[0] + code[1]) / 2 + 1e-7 * (code[0] - code[1])).view(1, D, 1, 1)
    layout = quantizer.layout(Grid(1, 1))
    pair = [Codes(torch.tensor([[index]]), layout) for index in (0, 1)]
    assert 0 < gaps(quantizer, z, *pair).item() < 1e-5


def test_only_the_first_of_residual_choices_that_differ_counts() -> None:
    torch.manual_seed(0)
    quantizer, z = build(TINY_QUANTIZERS['ResidualQuantizer']), torch.randn(1, D, 2, 2)
    ours = quantizer(z).codes
    one, all_later = ours.indices_BL.clone(), ours.indices_BL.clone()
    one[0, 0] = (one[0, 0] + 1) % K
    all_later[0, :3] = (all_later[0, :3] + 1) % K
    found = [gaps(quantizer, z, ours, Codes(each, ours.layout)) for each in (one, all_later)]
    assert found[0].shape == (1,)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        (dict(different=0.2), '0.200 % of its codes differ'),
        (dict(different=0.05, largest_gap=2e-5), 'no near-tie'),
        (dict(pixels=2e-4), 'pixels are off'),
        (dict(pixels=float('nan')), 'not finite'),
        (dict(codes=0, moments=1e-3), 'moments are off'),
        (dict(half=True, different=1.5), '1.500 % of its codes differ'),
    ],
)
def test_what_differs_is_refused_and_leaves_no_folder(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    bad = dataclasses.replace(GOOD, **changes)

    def write() -> None:
        with new_folder(tmp_path / 'out') as folder:
            (folder / 'encode.onnx').write_text('half')
            judge(bad, allow=False)

    with pytest.raises(UserError, match=reason):
        write()
    assert list(tmp_path.iterdir()) == []
    judge(bad, allow=True)


def test_near_ties_and_half_precision_within_their_limits_pass() -> None:
    for changes in (
        dict(),
        dict(different=0.1, largest_gap=9e-6),
        dict(half=True, different=0.9, pixels=0.1, largest_gap=1.0),
    ):
        assert dataclasses.replace(GOOD, **changes).problem() is None


def test_an_earlier_export_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    for text in ('first', 'second'):
        with new_folder(tmp_path / 'out') as folder:
            finish(folder, {'text': text}, lambda facts: None)
    assert 'second' in (tmp_path / 'out/export.json').read_text()
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/thesis.tex').write_text('years')
    with pytest.raises(UserError, match='is not an earlier export'), new_folder(tmp_path / 'mine'):
        pass
    assert (tmp_path / 'mine/thesis.tex').read_text() == 'years'


def test_crops_are_of_real_photos_in_several_sizes_and_batches() -> None:
    tokenizer = tiny_tokenizer()
    found = list(crops(tokenizer, Sizes.of(tokenizer)))
    assert sum(len(batch) for batch in found) == 60
    assert {len(batch) for batch in found} == {1, BATCH - 1, BATCH}
    assert {tuple(batch.shape[2:]) for batch in found} == {(64, 64), (62, 66)}
    assert all(batch.std() > 0.1 for batch in found)
    fixed = next(crops(tokenizer, Sizes.of(tokenizer, (900, 20))))  # higher than any of the photos used first
    assert fixed.shape[2:] == (900, 20)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--half'], '--half and --size are for --format torch and onnx'),
        (['--format', 'torch', '--size', '8', '8', '8'], '--size takes a side'),
        (['--weights', 'raw'], 'is a tokenizer, and --weights is for checkpoints'),
        (['--format', 'onnx', '--size', '7'], 'multiples of 2'),
    ],
)
def test_mistakes_cost_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    tiny_tokenizer().fold().save_pretrained(tmp_path / 'tokenizer')
    if 'onnx' in arguments:
        pytest.importorskip('onnxscript')
    assert export.main([str(tmp_path / 'tokenizer'), str(tmp_path / 'out'), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_a_folder_is_folded_into_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_tokenizer().save_pretrained(tmp_path / 'tokenizer')
    assert export.main([str(tmp_path / 'tokenizer'), str(tmp_path / 'out')]) == 0
    assert 'folded tokenizer' in capsys.readouterr().out
    assert 'VQBridge' not in (tmp_path / 'out/config.json').read_text()


def test_codes_that_depend_on_the_batch_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distance = dict(type='OptimalTransport', at_inference=True)
    tiny_tokenizer(dict(VECTOR, distance=distance)).fold().save_pretrained(tmp_path / 'tokenizer')
    assert export.main([str(tmp_path / 'tokenizer'), str(tmp_path / 'out'), '--format', 'torch']) == 2
    assert 'assigns the codes of a batch together' in capsys.readouterr().err
