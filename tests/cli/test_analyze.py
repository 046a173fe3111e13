"""`tools/analyze.py` on a real run of seconds, from training with the probe to every picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fvq_core.training.hooks.history import History
from fvq_eval.commands.analyze import main

from .helpers import tool

Analyze = Callable[..., tuple[int, str, str]]

CONFIG = """\
base = 'configs/fvq/fvq_photos.py'
default_hooks = dict(probe=dict(type='GradientProbeHook', interval=3))
"""
METHODS = "methods = dict(mine=dict(type='VectorQuantizer', update=dict(type='Frozen')))\n"


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where `--smoke`, which also proves exact resume, has trained with the probe on."""
    cwd = tmp_path_factory.mktemp('analyze')
    (cwd / 'probed.py').write_text(CONFIG)
    done = tool('train', 'probed.py', '--work-dir', 'work', '--smoke', cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert 'weights, optimizer, schedule and history from iteration 2 on are bit-identical' in done.stdout
    return cwd


@pytest.fixture
def analyze(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Analyze:
    """Runs `analyze.py ARGUMENTS` in a folder, in this process: exit code, stdout, stderr."""

    def run(cwd: Path, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(cwd)
        code = main(arguments)
        return code, *capsys.readouterr()

    return run


def test_probed_run_logs_and_draws_bias_and_shift(place: Path, analyze: Analyze) -> None:
    rows = [row for row in History(place / 'work/history.jsonl').rows() if row['split'] == 'probe']
    assert [row['iter'] for row in rows] == [1, 3, 4]
    code, _, err = analyze(place, 'probe', 'work', '--out', 'out')
    assert code == 0, err
    with open(place / 'out/probe.csv') as file:
        drawn = [float(row['mean']) for row in csv.DictReader(file) if row['panel'].startswith('gradient bias')]
    assert drawn == pytest.approx([row['gradient_bias'] for row in rows])
    assert (place / 'out/probe.png').exists()


@pytest.mark.parametrize(
    ('what', 'names'),
    [('curves', {'curves.png', 'curves.csv'}), ('size', {'size.png', 'size_curves.png', 'size.csv'})],
)
def test_curves_and_sizes_of_a_run(place: Path, analyze: Analyze, what: str, names: set[str]) -> None:
    code, _, err = analyze(place, what, 'work', '--out', what)
    assert code == 0, err
    assert {path.name for path in (place / what).iterdir()} == names


def test_maps_of_a_checkpoint_a_work_dir_and_a_saved_tokenizer(place: Path, analyze: Analyze) -> None:
    few = ('--count', '4', '--codes', '20', '--latents', '30')
    sources = ('work/iter_2.pth', 'work', 'work/tokenizer')
    code, out, err = analyze(place, 'tsne', *sources, *few, '--perplexity', '5', '--out', 'maps')
    assert code == 0, err
    lines = out.splitlines()[:3]
    assert [line.split(':')[0] for line in lines] == ['work/iter_2', 'work/iter_4', 'tokenizer']
    assert all('4 images (1024 tokens) use ' in line and line.endswith(' of 256 codes') for line in lines)
    assert (place / 'maps/tsne.png').exists()
    code, _, err = analyze(place, 'tsne', 'work', *few, '--perplexity', '50')
    assert code == 2
    assert 'perplexity must lie above 0 and below the 50 points' in err


def test_the_toy_runs_methods_of_ones_own(tmp_path: Path, analyze: Analyze) -> None:
    (tmp_path / 'mine.py').write_text(METHODS)
    size = ('--codes', '8', '--latents', '12', '--steps', '4', '--seeds', '0', '1')
    code, _, err = analyze(tmp_path, 'toy', '--methods', 'vq', 'mine', '--config', 'mine.py', *size, '--out', 'toy')
    assert code == 0, err
    document = json.loads((tmp_path / 'toy/toy.json').read_text())
    assert [(result['method'], result['seed']) for result in document['results']] == [
        (name, seed) for name in ('vq', 'mine') for seed in (0, 1)
    ]
    assert document['results'][0]['end']['moved'] > 0
    assert document['results'][2]['end']['moved'] == 0  # frozen codes
    with open(tmp_path / 'toy/toy.csv') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 5
    assert {path.name for path in (tmp_path / 'toy').iterdir()} == {'toy.png', 'toy_curves.png', 'toy.csv', 'toy.json'}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['toy', '--methods', 'vqbrige'], "there is no 'vqbrige'; did you mean 'vqbridge'"),
        (['toy', '--steps', '0'], 'steps from 1'),
        (['toy', '--seeds', '0', '0'], '--seeds wants different numbers, got [0, 0]'),
        (['tsne', '.'], 'holds neither an iter_N.pth nor a saved tokenizer'),
    ],
)
def test_an_error_is_one_line(tmp_path: Path, analyze: Analyze, arguments: list[str], message: str) -> None:
    code, _, err = analyze(tmp_path, *arguments)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_the_tool_of_a_clone_names_the_wrong_folder(tmp_path: Path) -> None:
    done = tool('analyze', 'curves', 'nowhere', cwd=tmp_path)
    assert done.returncode == 2
    assert 'nowhere is not a folder' in done.stderr
