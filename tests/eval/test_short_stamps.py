"""Numbers that share a line say in few words what they are of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fvq_core.metric import MetricValue
from fvq_core.stamp import image_count, short_stamp
from fvq_eval.commands import reconstruct
from tests.pictures import picture, save
from tests.tiny import tiny_tokenizer


def value(preset: str, samples: int) -> MetricValue:
    return MetricValue(1.0, '', 'x', samples, preset=preset)


def test_a_short_stamp_names_images_and_conventions() -> None:
    assert short_stamp({'psnr': value('strict', 4096)}) == '4,096 images, strict conventions'
    metrics = {'cost': value('strict', 0), 'a': value('strict', 1), 'c': value('ibq', 1)}
    assert short_stamp(metrics) == '1 image, strict and ibq conventions'
    assert short_stamp({'cost': value('strict', 0)}) == short_stamp({}) == ''
    assert [image_count(count) for count in (0, 1, 50_000)] == ['0 images', '1 image', '50,000 images']


def test_a_stamp_gives_preset_protocol_and_what_is_missing_of_the_images() -> None:
    number = MetricValue(1.0, '', 'rounded', 500, preset='strict', required=50_000, too_few='images: rank 9')
    assert number.partial
    assert number.stamp == 'strict: partial, 500 of 50,000 images; rounded; TOO FEW images: rank 9'
    whole = MetricValue(1.0, '', 'rounded', 50_000, preset='strict', required=50_000)
    assert not whole.partial
    assert whole.stamp == 'strict: rounded'
    assert MetricValue(1.0, 'MAC', 'as in table 10', 0).stamp == 'as in table 10'
    assert {'too_few', 'weights', 'tokens'}.isdisjoint(whole.to_dict())


def test_reconstruct_names_its_psnr_and_ssim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    tiny_tokenizer().save_pretrained(tmp_path / 'tokenizer')
    save(picture(40, 32), tmp_path / 'a.png')
    arguments = [str(tmp_path / 'tokenizer'), str(tmp_path / 'a.png'), '--out', str(tmp_path / 'out')]
    assert reconstruct.main(arguments) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if 'PSNR' in line]
    assert ' (strict conventions), ' in line
