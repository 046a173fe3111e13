"""Checkpoints, saved tokenizers, stores of codes and metrics of a GPU are those of the CPU, within rounding."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fvq_core.registry import METRICS
from fvq_core.tokenizer import Tokenizer
from fvq_core.training.checkpoint import read_checkpoint
from fvq_eval.commands import test
from fvq_generators.codes_store import CodesStore
from fvq_generators.commands.extract_codes import main as extract_codes

from ..cli.helpers import PHOTOS, TINY
from ..tiny import random_images, tiny_tokenizer
from .shares import matching

pytestmark = pytest.mark.gpu


def test_a_checkpoint_of_a_gpu_is_read_evaluated_and_exported_without_one(run: Path, tmp_path: Path) -> None:
    state = read_checkpoint(run / 'iter_9.pth')['state_dict']
    assert {value.device.type for value in state.values()} == {'cpu'}
    out = tmp_path / 'metrics.json'
    call = [PHOTOS, str(run / 'iter_9.pth'), '--out', str(out), '--cfg-options', *TINY]
    assert test.main([*call, 'device=cpu']) == 0
    there, here = (json.loads(path.read_text())['metrics'] for path in (run / 'metrics.json', out))
    assert here['psnr']['value'] == pytest.approx(there['psnr']['value'], abs=0.02)
    assert here['usage']['value'] == pytest.approx(there['usage']['value'], abs=4.0)


@torch.no_grad()
def test_a_saved_tokenizer_gives_the_same_codes_on_both(run: Path) -> None:
    images = random_images(2, 64, 96)
    one, other = (Tokenizer.from_pretrained(run / 'tokenizer', device=device) for device in ('cpu', 'cuda'))
    expected, got = one.encode(images), other.encode(images.cuda())
    assert matching(got.indices_BL, expected.indices_BL) > 0.99
    there = replace(expected, indices_BL=expected.indices_BL.cuda())
    torch.testing.assert_close(other.decode(there).cpu(), one.decode(expected), rtol=1e-3, atol=1e-3)


def test_codes_extracted_on_the_gpu_are_those_of_the_cpu(run: Path, tmp_path: Path) -> None:
    for device in ('cpu', 'cuda'):
        options = ['--size', '64', '--crops', 'random', '2', '--device', device, '--workers', '0']
        assert extract_codes([str(run / 'tokenizer'), 'bundled', str(tmp_path / device), *options]) == 0
    stores = [CodesStore(tmp_path / device) for device in ('cpu', 'cuda')]
    for image in range(len(stores[0])):
        one, other = (store.all_codes(image) for store in stores)
        assert matching(one, other) > 0.98


@pytest.mark.parametrize('name', ['CodebookUsage', 'PSNR', 'SSIM', 'QuantizationError'])
@torch.no_grad()
def test_metrics_are_those_of_the_cpu(name: str) -> None:
    tokenizer, images = tiny_tokenizer(), random_images(3, 32, 32)
    values = []
    for device in ('cpu', 'cuda'):
        there, metric = tokenizer.to(device), METRICS.build(dict(type=name))
        metric.reset(there)
        metric.update(images.to(device), there(images.to(device)), there)
        metric.reduce()
        values.append({key: value.value for key, value in metric.compute().items()})
    assert values[1] == pytest.approx(values[0], rel=0.02)
