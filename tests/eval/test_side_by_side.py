"""Several presets on the same images show by how much they differ, and in what."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fvq_core.metric import MetricValue
from fvq_eval.presets import PRESETS, table
from fvq_eval.reconstruction.side_by_side import side_by_side


def value(number: float, unit: str = '', too_few: str | None = None) -> MetricValue:
    return MetricValue(number, unit, 'protocol', 10, preset='a', too_few=too_few)


def test_numbers_stand_beside_one_another_with_differences_against_the_first() -> None:
    values = {
        'llamagen/psnr': value(30.37, 'dB'),
        'ibq/psnr': value(29.17, 'dB'),
        'strict/psnr': value(30.37, 'dB'),
        'llamagen/ssim': value(0.94),
        'strict/ssim': value(0.9016),
        'ibq/lpips_vgg': value(0.2),
        'strict/lpips_vgg': value(0.25),
        'strict/ms_ssim': value(0.98),
    }
    presets = [PRESETS[name] for name in ('llamagen', 'ibq', 'strict')]
    head, *lines = side_by_side(presets, values)
    assert head == 'side by side, 10 of 50,000 images (partial), difference against llamagen in brackets:'
    cells = [[cell for cell in line.split('  ') if cell] for line in lines[:4]]
    assert [[cell.strip() for cell in row] for row in cells] == [
        ['llamagen', 'ibq', 'strict'],
        ['psnr', '30.37 dB', '29.17 dB (-1.2)', '30.37 dB (+0)'],
        ['ssim', '0.94', '-', '0.9016 (-0.0384)'],
        ['lpips_vgg', '-', '0.2', '0.25'],  # the first has none to compare with
    ]
    assert not any('ms_ssim' in line and 'differs' not in line for line in lines)  # one preset alone gives it
    assert lines[4].startswith('ibq differs from llamagen in: crop, rounding, ')
    assert 'preprocessing' in lines[4]
    assert 'preprocessing' not in lines[5]


def test_the_table_has_the_number_of_images_and_marks_what_has_too_few() -> None:
    few = value(3.5, too_few='sample images: rank 9')
    values = {f'{name}/{key}': each for name in ('ibq', 'rqvae') for key, each in (('rfid', few), ('usage', value(50)))}
    for images, words in ((10, '10 images (declared as the whole set)'), (20, '10 of 20 images (partial)')):
        head, *lines = side_by_side([PRESETS[name].at(samples=images) for name in ('ibq', 'rqvae')], values)
        assert head == f'side by side, {words}, difference against ibq in brackets:'
        assert lines[1].split() == ['rfid', '3.5‡', '3.5‡', '(+0)']
        assert '‡' not in lines[2]
        assert lines[3].startswith('‡: too few images')
    unmarked = side_by_side([PRESETS['ibq'], PRESETS['rqvae']], {key: value(1) for key in values})
    assert not any('‡' in line for line in unmarked)


def test_one_preset_stands_beside_nothing() -> None:
    assert side_by_side([PRESETS['ibq']], {'ibq/psnr': value(30.0)}) == []


def test_a_difference_is_the_fields_that_are_declared_otherwise_in_both_ones_words() -> None:
    ibq, rqvae = PRESETS['ibq'], PRESETS['rqvae']
    found = ibq.difference(rqvae)
    assert set(found) == {'crop', 'psnr', 'ssim', 'lpips'}
    assert found['crop'] == (str(ibq.crop), str(rqvae.crop))
    assert found['ssim'] == (str(ibq.ssim), 'none')
    assert ibq.difference(ibq) == {}
    assert set(ibq.difference(ibq.at(64, 5000))) == {'crop', 'samples', 'samples_from'}


@pytest.mark.processes
def test_the_table_of_two_presets_is_their_difference() -> None:
    command = [sys.executable, '-m', 'fvq_eval.presets.table', 'ibq', 'rqvae']
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [line.split(' | ')[0] for line in printed.splitlines()[2:]] == ['| crop', '| psnr', '| ssim', '| lpips']


def test_the_table_of_one_preset_is_that_preset_and_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main(['ibq']) == 0
    assert capsys.readouterr().out == f'{PRESETS["ibq"]}\n'
    for names, words in (
        (['ibq', 'stric'], "did you mean 'strict'?"),
        (['a', 'b', 'c'], 'expected at most two presets'),
    ):
        assert table.main(names) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count('\n') == 1
