"""One table of saved tokenizers under presets: each scored once, with hashes, and failures that cost no other its row."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fvq_core.data.image_folder import ImageFolder
from fvq_core.errors import UserError
from fvq_core.registry import TOKENIZERS
from fvq_core.tokenizer import Tokenizer
from fvq_eval.commands.zoo_table import main, try_to_score
from fvq_eval.reconstruction import PresetEvaluator, time_estimate
from fvq_eval.reconstruction.scored_tokenizer import data_facts
from fvq_eval.reconstruction.time_estimate import FirstFiles, estimate
from fvq_eval.reports.zoo_tables import cell
from tests.eval.reconstruction_ranks import SIZE, evaluator, write_images
from tests.tiny import kl_config, tiny_tokenizer

PRESETS = ['strict', 'llamagen']


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images, two tokenizers and an autoencoder without codes."""
    place = tmp_path_factory.mktemp('zoo')
    (place / 'images').mkdir()
    write_images(place / 'images')
    for name, seed in (('one', 0), ('two', 1)):
        torch.manual_seed(seed)
        tiny_tokenizer().save_pretrained(place / name)
    TOKENIZERS.build(kl_config()).eval().save_pretrained(place / 'kl')
    return place


def call(place: Path, out: Path, *tokenizers: str, options: tuple[str, ...] = ()) -> int:
    names = [str(place / name) for name in tokenizers]
    given = ['--data', str(place / 'images'), '--out', str(out), '--image-size', str(SIZE), '--preset', *PRESETS]
    return main([*names, *given, '--extractor', 'RandomFeatures', '--lpips-weights', '/nowhere', *options])


def documents(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / 'table.json').read_text())['tokenizers']


def test_the_table_has_the_numbers_of_the_evaluator_and_the_hashes_of_the_files(place: Path, tmp_path: Path) -> None:
    assert call(place, tmp_path, 'one', 'two') == 0
    lines = list(csv.DictReader((tmp_path / 'table.csv').read_text().splitlines()))
    for name, line, document in zip(('one', 'two'), lines, documents(tmp_path), strict=True):
        values = evaluator(PRESETS).evaluate(
            Tokenizer.from_pretrained(place / name), ImageFolder(str(place / 'images'))
        )
        assert {key: one['value'] for key, one in document['metrics'].items()} == {
            key: value.value for key, value in values.items()
        }
        for key in ('strict/psnr', 'llamagen/rfd_random', 'strict/usage'):
            assert float(line[key]) == values[key].value
        file = (place / name / 'model.safetensors').read_bytes()
        assert line['weights_sha256'] == document['weights_sha256'] == hashlib.sha256(file).hexdigest()
        assert line['codes'] == str((SIZE // 2) ** 2)
        assert float(line['bits_per_image']) == (SIZE // 2) ** 2 * 4  # 16 codes
        assert float(line['bits_per_pixel']) == 1.0
    assert lines[0]['data_sha256'] == lines[1]['data_sha256']
    text = (tmp_path / 'table.md').read_text()
    assert f'`{lines[0]["weights_sha256"][:12]}`' in text
    assert lines[0]['data_sha256'] in text
    assert '## llamagen' in text
    assert 'partial, 7 of 50,000 images' in text


def test_a_call_that_was_killed_goes_on_with_the_next_tokenizer(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scored = []
    evaluate = PresetEvaluator.evaluate

    def killed(self: PresetEvaluator, tokenizer: Any, *rest: Any, **options: Any) -> Any:
        if len(scored) == 1:
            raise KeyboardInterrupt
        scored.append(tokenizer)
        return evaluate(self, tokenizer, *rest, **options)

    monkeypatch.setattr(PresetEvaluator, 'evaluate', killed)
    assert call(place, tmp_path, 'one', 'two') == 130
    assert [one['tokenizer'] for one in documents(tmp_path)] == [str(place / 'one')]
    monkeypatch.undo()
    count = counted(monkeypatch)
    assert call(place, tmp_path, 'one', 'two') == 0
    assert len(count) == 1
    assert f'{place / "one"}: already scored' in capsys.readouterr().out
    assert [one['tokenizer'] for one in documents(tmp_path)] == [str(place / 'one'), str(place / 'two')]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows with each evaluation."""
    calls: list[Any] = []
    evaluate = PresetEvaluator.evaluate

    def count(self: PresetEvaluator, tokenizer: Any, *rest: Any, **options: Any) -> Any:
        calls.append(tokenizer)
        return evaluate(self, tokenizer, *rest, **options)

    monkeypatch.setattr(PresetEvaluator, 'evaluate', count)
    return calls


def test_other_weights_images_or_settings_are_scored_again(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, model = tmp_path / 'images', tmp_path / 'model'
    images.mkdir()
    write_images(images)
    torch.manual_seed(2)
    tiny_tokenizer().save_pretrained(model)
    given = [str(model), '--data', str(images), '--out', str(tmp_path / 'out'), '--image-size', str(SIZE)]
    given += ['--preset', 'strict', '--extractor', 'none', '--lpips-weights', '/nowhere']
    count = counted(monkeypatch)
    assert main(given) == 0
    assert main(given) == 0
    assert len(count) == 1
    assert main([*given, '--images', '7']) == 0  # another declared whole set
    assert len(count) == 2
    (images / '6.png').write_bytes((images / '5.png').read_bytes())
    assert main(given) == 0
    assert len(count) == 3
    torch.manual_seed(3)
    tiny_tokenizer().save_pretrained(model)
    assert main(given) == 0
    assert len(count) == 4


def test_a_tokenizer_that_cannot_be_scored_is_a_line_and_one_without_codes_has_no_rate(
    place: Path, tmp_path: Path
) -> None:
    (place / 'broken').mkdir(exist_ok=True)
    assert call(place, tmp_path, 'broken', 'nowhere', 'kl') == 0
    broken, nowhere, kl = documents(tmp_path)
    assert 'config.json' in broken['failure']
    assert 'there is no such folder' in nowhere['failure']
    assert 'strict/psnr' in kl['metrics']
    assert 'bits_per_image' not in kl['rates']
    assert not any('usage' in key for key in kl['metrics'])
    assert '- ' + broken['tokenizer'] in (tmp_path / 'table.md').read_text()


def test_a_tokenizer_that_is_too_large_costs_no_other_its_row(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, calls, emptied = PresetEvaluator.evaluate, [], []

    def first_is_too_large(self: PresetEvaluator, tokenizer: Any, *rest: Any, **options: Any) -> Any:
        calls.append(tokenizer)
        if len(calls) == 1:
            raise torch.OutOfMemoryError('CUDA out of memory.\nTried to allocate 2 GiB.')
        return evaluate(self, tokenizer, *rest, **options)

    monkeypatch.setattr(PresetEvaluator, 'evaluate', first_is_too_large)
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: emptied.append(len(calls)))
    assert call(place, tmp_path, 'one', 'two') == 0
    one, two = documents(tmp_path)
    assert one['failure'] == 'OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.'
    assert 'strict/psnr' in two['metrics']
    assert emptied == [1]


def test_an_error_of_one_rank_of_several_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def score(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr('mmengine.dist.get_world_size', lambda: 2)
    with pytest.raises(MemoryError):
        try_to_score(SimpleNamespace(score=score), SimpleNamespace(source='one', hashes={}), None, 1, 0)


def test_the_same_weights_twice_are_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(place, tmp_path, 'one', 'one') == 2
    assert 'leave one of them out' in capsys.readouterr().err


def test_the_hash_of_images_is_over_names_and_bytes(tmp_path: Path) -> None:
    write_images(tmp_path)
    digest = hashlib.sha256()
    for number in range(7):
        content = hashlib.sha256((tmp_path / f'{number}.png').read_bytes()).hexdigest()
        digest.update(f'{number}.png {content}\n'.encode())
    assert data_facts(ImageFolder(str(tmp_path)), 'x') == {
        'data': 'x',
        'data_sha256': digest.hexdigest(),
        'data_images': 7,
    }


def test_an_estimate_is_the_slope_between_two_passes_and_what_is_left(tmp_path: Path) -> None:
    write_images(tmp_path)
    files, passes = ImageFolder(str(tmp_path)), []

    class Evaluator:
        def evaluate(self, autoencoder: Any, some: FirstFiles, batch_size: int, workers: int) -> None:
            assert [some.names[number] for number in range(len(some))] == [f'{n}.png' for n in range(len(some))]
            passes.append(len(some))

    def clock() -> float:
        """5 seconds a pass and 2 an image."""
        return sum(5.0 + 2.0 * count for count in passes)

    found = estimate(Evaluator, None, files, 3, 2, 0, clock)  # pyrefly: ignore[bad-argument-type]
    assert passes == [2, 3, 6]
    assert (found.images, found.per_image, found.once) == (6, 2.0, 5.0)
    assert found.hours(50_000) == pytest.approx((5.0 + 100_000.0) / 3600)
    with pytest.raises(UserError, match='needs 8 images, the set has 7'):
        estimate(Evaluator, None, files, 4, 2, 0, clock)  # pyrefly: ignore[bad-argument-type]


def test_the_command_prints_hours_and_scores_nothing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = (
        float(tick) ** 2 for tick in itertools.count()
    )  # each pass takes longer than the one before, on any machine
    monkeypatch.setattr(time_estimate, 'estimate', partial(estimate, clock=lambda: next(times)))
    assert call(place, tmp_path, 'one', options=('--estimate', '3', '--json')) == 0
    printed = json.loads(capsys.readouterr().out)
    (row,) = printed['tokenizers'].values()
    assert printed['images'] == 7
    assert printed['hours'] == pytest.approx((row['once_seconds'] + 7 / row['images_per_second']) / 3600)
    assert not (tmp_path / 'table.json').exists()


def test_a_cell_shows_what_is_missing_of_its_images() -> None:
    assert cell({'value': 1.23456, 'unit': 'dB', 'samples': 5, 'required': 5}) == '1.235 dB'
    assert cell({'value': 1.0, 'unit': '', 'samples': 4, 'required': 5, 'too_few': 'why'}) == '1†‡'
    assert cell(None) == '-'
