"""`tools/test.py --preset`: published protocols on a folder of images, from the command line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from fvq_core.data.image_folder import ImageFolder
from fvq_core.images import from_uint8
from fvq_eval.commands import test
from fvq_eval.features.random_features import RandomFeatures
from fvq_eval.presets import PRESETS
from fvq_eval.statistics.image_set import ImageSetStatistics
from tests.pictures import picture, save
from tests.tiny import tiny_tokenizer

from .helpers import PHOTOS

RANDOM = ['--extractor', 'RandomFeatures', '--image-size', '64', '--lpips-weights', '/nowhere']


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five images, and a saved tokenizer."""
    place = tmp_path_factory.mktemp('place')
    for number in range(5):
        save(picture(80, 70 + number, number), place / 'images' / f'{number}.png')
    torch.manual_seed(0)
    tiny_tokenizer().save_pretrained(place / 'tokenizer')
    return place


def run(place: Path, *arguments: str) -> int:
    return test.main([PHOTOS, str(place / 'tokenizer'), '--data', str(place / 'images'), *arguments])


def test_presets_in_one_pass_print_their_numbers_and_themselves(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = place / 'metrics.json'
    assert run(place, '--preset', 'llamagen', 'ibq', *RANDOM, '--batch-size', '2', '--out', str(out)) == 0
    printed = capsys.readouterr().out
    for start in ('llamagen/psnr ', 'ibq/psnr ', 'llamagen/rfd_random ', 'preset llamagen', 'preset ibq', 'left out: '):
        assert f'\n{start}' in f'\n{printed}'
    assert 'llamagen: partial, 5 of 50,000 images; ADMCenterCrop to 64x64' in printed
    document = json.loads(out.read_text())
    assert {key.split('/')[0] for key in document['metrics']} == {'llamagen', 'ibq'}
    for key, metric in document['metrics'].items():
        assert metric['preset'] == key.split('/')[0]
        assert metric['samples'] == 5
        assert metric['weights'].endswith('tokenizer')
    assert document['presets']['ibq']['rounding'] == 'float'
    assert document['presets']['ibq']['source'] in printed
    assert any('ibq: no lpips_alex, lpips_vgg: LPIPS: /nowhere does not exist' in line for line in document['left_out'])
    assert document['presets']['ibq']['lpips'] == []
    for name in ('llamagen', 'ibq'):  # what was applied, as the numbers' own stamps have it
        used = document['presets'][name]['preprocessing']
        assert used == RandomFeatures().preprocessing
        assert used in document['metrics'][f'{name}/rfd_random']['protocol']
        assert f'  preprocessing: {used}\n' in printed
    assert document['dead_codes'].keys() == {'llamagen', 'ibq'}
    first, second = (document['metrics'][f'{name}/psnr']['value'] for name in ('llamagen', 'ibq'))
    assert first != second  # two presets on the same images
    head = 'side by side, 5 of 50,000 images (partial), difference against llamagen in brackets:'
    table = printed[printed.index(head) :].splitlines()
    (line,) = [line for line in table if line.startswith('psnr ')]
    assert line.split() == ['psnr', f'{first:.4g}', 'dB', f'{second:.4g}', 'dB', f'({second - first:+.3g})']
    (line,) = [line for line in table if line.startswith('rfd_random ')]
    assert line.count('‡') == 2
    assert '‡: too few images for this number at all, see its protocol above' in table
    assert table[-1].startswith('ibq differs from llamagen in: crop, rounding, ')


def test_an_external_reference_gives_adm_its_distance(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    statistics, files = ImageSetStatistics(RandomFeatures()), ImageFolder(str(place / 'images'))
    crop = PRESETS['adm'].at(64)
    cropped = ImageFolder(str(place / 'images'), [crop.crop.config()])
    pixels = torch.stack([cropped[number]['image'] for number in range(len(files))])
    statistics.update(crop.pixels(from_uint8(pixels)), torch.arange(len(files)))
    statistics.save(place / 'reference.npz')
    assert run(place, '--preset', 'adm', *RANDOM, '--reference', str(place / 'reference.npz'), '--images', '5') == 0
    printed = capsys.readouterr().out
    assert '\nadm/fd_random ' in f'\n{printed}'
    assert 'partial' not in printed
    assert 'adm: whole set declared as 5 images; ' in printed
    assert 'side by side' not in printed
    assert run(place, '--preset', 'adm', *RANDOM) == 0
    printed = capsys.readouterr().out
    assert 'left out: adm: no distance, it needs VIRTUAL_imagenet256_labeled.npz' in printed
    assert '\n  features: inception_score, ' in printed  # what was computed, not what adm has with a reference


def test_the_file_names_the_reference(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    statistics = ImageSetStatistics(RandomFeatures())
    statistics.update(torch.randint(0, 256, (9, 3, 64, 64), dtype=torch.uint8), torch.arange(9))
    reference, out = place / 'coco.npz', place / 'against.json'
    statistics.save(reference)
    assert run(place, '--preset', 'adm', *RANDOM, '--reference', str(reference), '--out', str(out)) == 0
    assert 'VIRTUAL' not in capsys.readouterr().out
    document, sha256 = json.loads(out.read_text()), hashlib.sha256(reference.read_bytes()).hexdigest()
    assert (document['reference'], document['reference_sha256']) == (str(reference), sha256)
    assert document['presets']['adm']['reference_words'] == f'statistics in coco.npz (sha256 {sha256[:12]})'
    assert f'coco.npz (sha256 {sha256[:12]})' in document['metrics']['adm/fd_random']['protocol']
    assert 'against' not in document['metrics']['adm/is_random']['protocol']


def test_without_features_nothing_is_called_a_distance(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(place, '--preset', 'strict', '--extractor', 'none', '--image-size', '64', '--lpips-weights', '/none') == 0
    )
    printed = capsys.readouterr().out
    assert 'strict/psnr ' in printed
    assert 'rf' not in ' '.join(line.split()[0] for line in printed.splitlines() if '/' in line.split()[0])


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--preset', 'lamagen'], "there is no preset 'lamagen'; did you mean 'llamagen'?"),
        (['--extractor', 'RandomFeatures'], '--extractor needs a preset; name one with --preset'),
        (['--images', '5000'], '--images needs a preset'),
        (['--out', '.'], '--out . is a folder; name a file'),
        (['--out', '/proc/none/metrics.json'], '--out: expected a file that can be written'),
        (['--workers', '-1'], '--workers: expected 0 or more, got -1'),
        (['--batch-size', '0'], '--batch-size: expected 1 or more, got 0'),
        (['--cfg-options', 'device=foo'], "expected auto, cpu, cuda or cuda:N, got 'foo'"),
        (['--preset', 'ibq', '--extractor', 'RandomFeature'], "did you mean 'RandomFeatures'?"),
        (['--preset', 'ibq', '--extractor', 'RandomFeatures', '--extractor-options', 'pol=3'], "did you mean 'pool'?"),
        (['--preset', 'ibq', '--reference', 'any.npz'], 'compares with a file such as adm for the reference any.npz'),
        (['--preset', 'ibq', '--image-size', '65', '--extractor', 'none'], 'multiples of'),
    ],
)
def test_what_cannot_work_costs_one_line(
    arguments: list[str], words: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, *arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('error: ')
    assert words in error


def test_an_evaluation_set_that_is_cropped_already_needs_data(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert test.main([PHOTOS, str(place / 'tokenizer'), '--preset', 'strict', '--extractor', 'none']) == 2
    assert 'BundledPhotos gives crops of its own; pass --data DIR' in capsys.readouterr().err


def test_a_preset_does_without_the_crop_of_the_config(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd, out = ['--cfg-options', 'val_dataloader.dataset.crop_size=65'], place / 'odd.json'
    assert run(place, *odd) == 2
    assert 'image sides must be multiples of 2, got 65x65' in capsys.readouterr().err
    assert run(place, *odd, '--preset', 'strict', *RANDOM, '--out', str(out)) == 0
    assert 'ADMCenterCrop to 64x64' in capsys.readouterr().out
    (crop,) = json.loads(out.read_text())['resolved_config']['val_dataloader']['dataset']['transforms']
    assert crop['size'] == 65  # the config is kept as it is
