"""Model cards: what was recorded, with its stamp; what was not, said to be missing; lines of code that work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from fvq_core import __version__
from fvq_core.metric import MetricValue
from fvq_core.saving.model_card import CardMetadata
from fvq_core.tokenizer import Tokenizer

from ..tiny import FVQ, tiny_tokenizer

PSNR = MetricValue(24.123456789, 'dB', 'RGB | mean over images', samples=50_000, preset='strict')
USAGE = MetricValue(99.5, '%', 'every code of the whole evaluation set', 50_000, 12_800_000, preset='strict')
WINDOW = {'value': 71.0, 'unit': '%', 'protocol': 'training window', 'samples': None, 'tokens': 512, 'weights': 'while'}
METRICS = {
    'psnr': {**PSNR.to_dict(), 'weights': 'iter_9.pth (moving average)'},
    'usage': {**USAGE.to_dict(), 'weights': 'iter_9.pth (moving average)'},
    'usage_window': WINDOW,
}


def card_of(folder: Path, extra: dict[str, Any] | None = None, **metadata: Any) -> str:
    """The card of a tiny folded tokenizer."""
    tiny_tokenizer().fold().save_pretrained(folder, extra, CardMetadata(**metadata))
    return (folder / 'README.md').read_text(encoding='utf-8')


def rows(card: str) -> dict[str, list[str]]:
    """The cells of all table rows, by their first."""
    lines = [line for line in card.splitlines() if line.startswith('| ')]
    cells = [re.split(r' (?<!\\)\| ', line.removeprefix('| ').removesuffix(' |')) for line in lines]
    return {first: others for first, *others in cells}


def test_every_metric_has_the_stamp_it_was_recorded_with(tmp_path: Path):
    card = rows(card_of(tmp_path / 't', {'metrics': METRICS}))
    weights = 'iter_9.pth (moving average)'
    assert card['metric'] == ['value', 'protocol', 'images', 'codes', 'weights']
    assert card['psnr (dB)'] == ['24.1235', 'strict: RGB \\| mean over images', '50000', '', weights]
    assert card['usage (%)'] == ['99.5', USAGE.stamp, '50000', '12800000', weights]
    assert card['usage_window (%)'] == ['71', 'training window', 'not recorded', '512', 'while']


def test_bare_number_is_printed_with_the_remark_that_its_stamp_is_missing(tmp_path: Path):
    card = rows(card_of(tmp_path / 't', {'metrics': {'rfid': 1.25, 'fid': {'unit': ''}}}))
    assert card['rfid'] == ['1.25', 'not recorded', 'not recorded', '', 'not recorded']
    assert card['fid'][0] == 'not recorded'


def test_what_is_not_known_is_listed_as_missing(tmp_path: Path):
    card = card_of(tmp_path / 't')
    assert 'None were recorded with these weights.' in card
    facts = rows(card)
    assert facts['weights'] == facts['seed'] == facts['training config'] == ['not recorded']
    metadata = ModelCard(card).data.to_dict()
    assert metadata == {'library_name': 'fvq', 'tags': ['image-tokenizer', 'discrete-codes']}


def test_facts_of_the_run_are_on_the_card(tmp_path: Path):
    extra = {'weights': 'iter_9.pth', 'seed': 3, 'versions': {'torch': '2.11.0'}, 'config': 'configs/fvq/fvq_16k.py'}
    facts = rows(card_of(tmp_path / 't', extra))
    assert facts['weights'] == ['iter_9.pth']
    assert facts['seed'] == ['3']
    assert facts['versions'] == [f'saved with fvq {__version__}, torch 2.11.0']
    assert facts['training config'] == ['configs/fvq/fvq_16k.py']
    assert facts['image sides'] == ['multiples of 2 pixels']
    assert facts['codes of a 256x256 image'] == ['16384 codes, `Grid(height=128, width=128) of 16 codes`']


@pytest.mark.parametrize('depth', [1, 2])
def test_card_tells_a_folded_tokenizer_from_one_with_its_bridge(tmp_path: Path, depth: int):
    quantizer = FVQ if depth == 1 else dict(type='ResidualQuantizer', depth=depth, quantizer=FVQ)
    tokenizer = tiny_tokenizer(quantizer)
    for name, built, answer in (('whole', tokenizer, 'no: VQBridge maps'), ('folded', tokenizer.fold(), 'yes: ')):
        built.save_pretrained(tmp_path / name)
        assert rows((tmp_path / name / 'README.md').read_text())['folded'][0].startswith(answer)


def test_model_index_holds_what_was_measured_on_the_named_data(tmp_path: Path):
    metrics = {**METRICS, 'broken': {**METRICS['psnr'], 'value': float('nan')}}
    assert ModelCard(card_of(tmp_path / 'a', {'metrics': metrics})).data.eval_results is None
    data = ModelCard(card_of(tmp_path / 'b', {'metrics': metrics}, evaluated_on='imagenet-1k', name='ada/t')).data
    results = {result.metric_type: result for result in data.eval_results}
    assert results.keys() == {'psnr', 'usage'}  # not the training window, not what is no number
    assert results['psnr'].metric_value == PSNR.value
    assert results['psnr'].dataset_name == 'imagenet-1k'
    assert results['psnr'].metric_args == {key: METRICS['psnr'][key] for key in METRICS['psnr'] if key != 'value'}
    assert data.model_name == 't'


def test_owner_names_licence_and_data(tmp_path: Path):
    data = ModelCard(card_of(tmp_path / 't', license='apache-2.0', datasets=['imagenet-1k', 'coco'])).data
    assert data.license == 'apache-2.0'
    assert data.datasets == ['imagenet-1k', 'coco']


def test_card_with_all_metadata_is_known_as_ours_when_saved_again(tmp_path: Path):
    metadata = dict(license='mit', datasets=['a/b'], evaluated_on='a/b')
    card_of(tmp_path / 't', {'metrics': METRICS}, **metadata)
    assert 'None were recorded' in card_of(tmp_path / 't')


def test_code_on_the_card_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r'```python\n(.*?)```', card_of(Path("a 'quoted' folder")), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert isinstance(names['tokenizer'], Tokenizer)
    assert names['images'].shape == (1, 3, 256, 256)
    assert 'packages `fvq_core`, `fvq_quantizers`' in Path("a 'quoted' folder/README.md").read_text()
