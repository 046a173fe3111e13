"""A benchmark's generators: every kind of codes gets one, its bits beside the unigram code's, and distances of samples."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.codes import CodeLayout, Grid, Pyramid
from fvq_core.commands import run_command
from fvq_core.errors import UserError
from fvq_core.files.json import read_json_object
from fvq_core.registry import DATASETS
from fvq_eval.benchmark import generator_stage, local_processes
from fvq_eval.benchmark.code_costs import code_costs, group_of_each_code
from fvq_eval.benchmark.run_process import FolderBusyError
from fvq_eval.commands.benchmark import main

from .benchmark_runs import REPO, VQ
from .test_benchmark import TINY, here

RQ, SCALES = (str(REPO / 'configs/mini' / name) for name in ('rq.py', 'multi_scale.py'))
SMALLER = [
    *(option for option in TINY if 'codebook_size' not in option),
    'train_dataloader.dataset.crop_size=16',
    'val_dataloader.dataset.crop_size=16',
]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Few crops and samples; everything in this process. Returns the commands as they are called."""
    called: list[str] = []

    def call(name: str, arguments: Sequence[str], env: Any, folder: Path) -> None:
        called.append(name)
        if run_command(name, arguments):
            raise UserError(f'{name} failed')

    monkeypatch.setattr(generator_stage, 'call', call)
    monkeypatch.setattr(local_processes, 'execute', here)
    for name, value in dict(TRAINING_CROPS=20, VALIDATION_CROPS=10, SAMPLES=64).items():
        monkeypatch.setattr(generator_stage, name, value)
    return called


def test_every_kind_of_codes_gets_a_generator_and_its_columns(quick: list[str], tmp_path: Path):
    call = [VQ, RQ, SCALES, '--steps', '2', '--perceptual', 'none', '--generator', '2', '--work-dir', str(tmp_path)]
    call += ['--allow-differences', '--cfg-options', *SMALLER]
    assert main(call) == 0
    assert quick == ['extract_codes', 'extract_codes', 'train', 'sample'] * 3
    text = (tmp_path / 'report.md').read_text()
    for title in (
        'bits an image, generator',
        'bits an image, unigram code',
        'gain over unigram %',
        'KID of samples',
        'Rate and distortion',
    ):
        assert title in text
    assert 'random features' in text, 'the network of the distances is named'
    metrics = read_json_object(tmp_path / 'runs/mini/vq/lr1/seed0/generator.json')['metrics']
    real, training = (f'{metrics[key]["value"]:.4f}' for key in ('kid_of_real', 'kid_of_training_crops'))
    assert f'real crops against the same reference: {real} of other evaluation crops' in text
    assert f'and {training} of training crops' in text
    assert (tmp_path / 'rate_distortion.png').exists()
    with open(tmp_path / 'report.csv') as file:
        rows = {row['row']: row for row in csv.DictReader(file)}
    for name, kind in (('vq', 'LlamaGen'), ('rq', 'RQTransformer'), ('multi_scale', 'VAR')):
        run = tmp_path / f'runs/mini/{name}/lr1/seed0'
        metrics = read_json_object(run / 'generator.json')['metrics']
        assert float(rows[name]['generator_bits_per_image_mean']) == metrics['generator_bits_per_image']['value']
        config = read_json_object(run / 'generator/run/generator/config.json')
        assert config['generator']['type'] == kind
        assert config['generator']['num_classes'] == 1
        assert metrics['kid_of_samples']['samples'] == 64
    del quick[:]
    assert main(call) == 0
    assert quick == [], 'what was measured stays'
    other = [VQ, *call[3:]]
    other[other.index('--generator') + 1] = '3'
    assert main(other) == 0
    assert quick.count('train') == 1, 'another number of steps is another generator'


def test_a_generator_that_fails_is_told_and_costs_no_other(
    quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fails = generator_stage.call

    def call(name: str, arguments: Sequence[str], env: Any, folder: Path) -> None:
        if name == 'train':
            raise UserError('train: out of luck')
        fails(name, arguments, env, folder)

    monkeypatch.setattr(generator_stage, 'call', call)
    call_ = [VQ, '--steps', '2', '--perceptual', 'none', '--generator', '2', '--work-dir', str(tmp_path)]
    assert main([*call_, '--cfg-options', *SMALLER]) == 0
    assert 'generator (seed 0): train: out of luck' in (tmp_path / 'report.md').read_text()

    def interrupted(name: str, arguments: Sequence[str], env: Any, folder: Path) -> None:
        raise generator_stage.InterruptedCommandError

    monkeypatch.setattr(generator_stage, 'call', interrupted)
    (tmp_path / 'runs/mini/vq/lr1/seed0/generator.json').unlink()
    assert main([*call_, '--cfg-options', *SMALLER]) == 0
    assert not (tmp_path / 'runs/mini/vq/lr1/seed0/generator.json').exists(), 'it is not a failure'
    monkeypatch.setattr(generator_stage, 'call', call)
    assert main([*call_, '--cfg-options', *SMALLER]) == 0
    monkeypatch.setattr(generator_stage, 'call', fails)
    assert main([*call_, '--cfg-options', *SMALLER]) == 0
    assert 'out of luck' not in (tmp_path / 'report.md').read_text(), 'what failed is tried again'


def test_a_run_that_another_process_works_on_is_left_alone(
    quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def busy(folder: Path) -> Any:
        raise FolderBusyError(f'process 7 trains in {folder} already')

    monkeypatch.setattr(generator_stage, 'alone_in', busy)
    call = [VQ, '--steps', '2', '--perceptual', 'none', '--generator', '2', '--work-dir', str(tmp_path)]
    assert main([*call, '--cfg-options', *SMALLER]) == 0
    assert 'mini/vq lr x1 seed 0: generator: process 7 trains in' in capsys.readouterr().out
    assert quick == []
    assert not (tmp_path / 'runs/mini/vq/lr1/seed0/generator.json').exists(), 'it is not a failure'


@pytest.mark.processes
def test_a_command_is_told_by_its_last_line_and_has_an_input_that_ends_with_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / 'log.txt').write_text('error: of an earlier command\n')
    monkeypatch.setattr(generator_stage, 'COMMAND', 'import sys; sys.exit(int(sys.argv[2]))')
    with pytest.raises(UserError, match=r'train: no output, exit code 3; see .*log.txt'):
        generator_stage.call('train', ['3'], {}, tmp_path)
    monkeypatch.setattr(generator_stage, 'COMMAND', 'import sys; print("error: no luck.\\n"); sys.exit(2)')
    with pytest.raises(UserError, match=r'train: no luck; see .*log.txt'):
        generator_stage.call('train', [], {}, tmp_path)
    monkeypatch.setattr(generator_stage, 'COMMAND', 'import sys; sys.exit(130)')
    with pytest.raises(generator_stage.InterruptedCommandError):
        generator_stage.call('train', [], {}, tmp_path)
    ready = 'import select, sys; sys.exit(len(select.select([sys.stdin], [], [], 0.2)[0]))'
    monkeypatch.setattr(generator_stage, 'COMMAND', ready)
    generator_stage.call('train', [], {}, tmp_path)


@pytest.mark.parametrize('extra', [['--generator', '0'], ['--generator', '2', '--extractor', 'Nothing']])
def test_settings_are_checked_before_anything_is_trained(extra: list[str], tmp_path: Path, quick: list[str]):
    assert main([VQ, '--work-dir', str(tmp_path / 'new'), *extra]) == 2
    assert not (tmp_path / 'new').exists()


def test_the_unigram_code_is_that_of_the_training_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    layout = CodeLayout(Grid(1, 2), (4, 2))
    codes = {'codes': [[0, 1, 0, 1], [0, 0, 3, 1]], 'codes_val': [[0, 1, 3, 0], [2, 1, 0, 1]]}

    class Store(list):
        def __init__(self, name: str) -> None:
            super().__init__({'codes': torch.tensor(each)} for each in codes[name])
            self.layout = layout

    monkeypatch.setattr(DATASETS, 'build', lambda config: Store(Path(config['root']).name))
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/metrics.json').write_text('{"metrics": {"val_bits_per_image": {"value": 3.0, "samples": 2}}}')
    found = code_costs(tmp_path, 'x')
    first = {0: 3.5 / 6, 1: 0.5 / 6, 2: 0.5 / 6, 3: 1.5 / 6}  # counts 3, 0, 0, 1 and a half each
    second = {0: 1.5 / 5, 1: 3.5 / 5}
    bits = -sum(
        math.log2(first[image[place]]) + math.log2(second[image[place + 1]])
        for image in codes['codes_val']
        for place in (0, 2)
    )
    assert found['unigram_bits_per_image'].value == pytest.approx(bits / 2)
    assert found['generator_gain'].value == pytest.approx(100 * (1 - 3.0 / (bits / 2)))


def test_each_scale_and_each_slot_has_a_unigram_of_its_own():
    assert group_of_each_code(CodeLayout(Pyramid(((1, 1), (2, 2))), 8)).tolist() == [0, 1, 1, 1, 1]
    assert group_of_each_code(CodeLayout(Grid(1, 2), (8, 8, 8))).tolist() == [0, 1, 2, 0, 1, 2]
    assert group_of_each_code(CodeLayout(Grid(1, 2), 8)).tolist() == [0, 0]
