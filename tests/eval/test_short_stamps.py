"""Numbers that share a line say in few words what they are of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fvq_core.commands import reconstruct
from fvq_core.metric import MetricValue
from fvq_core.stamp import image_count, short_stamp
from tests.pictures import picture, save
from tests.tiny import tiny_tokenizer


def value(protocol: str, samples: int) -> MetricValue:
    return MetricValue(1.0, '', protocol, samples)


def test_a_short_stamp_names_images_and_conventions() -> None:
    assert short_stamp({'psnr': value('strict: RGB', 4096)}) == '4,096 images, strict conventions'
    metrics = {'cost': value('strict: of no image', 0), 'a': value('strict: b', 1), 'c': value('ibq: d', 1)}
    assert short_stamp(metrics) == '1 image, strict and ibq conventions'
    assert short_stamp({'cost': value('strict: of no image', 0)}) == short_stamp({}) == ''
    assert [image_count(count) for count in (0, 1, 50_000)] == ['0 images', '1 image', '50,000 images']


def test_reconstruct_says_which_psnr_and_ssim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    tiny_tokenizer().save_pretrained(tmp_path / 'tokenizer')
    save(picture(40, 32), tmp_path / 'a.png')
    arguments = [str(tmp_path / 'tokenizer'), str(tmp_path / 'a.png'), '--out', str(tmp_path / 'out')]
    assert reconstruct.main(arguments) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if 'PSNR' in line]
    assert ' (strict conventions), ' in line
