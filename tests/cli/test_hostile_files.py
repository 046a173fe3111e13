"""A program in place of the data of a config, in every file that a command reads: nothing of it is run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fvq.commands import export
from fvq_core.commands import train
from fvq_core.config.data import config_data
from fvq_core.registry import MODELS
from fvq_eval.commands import analyze, report, zoo
from fvq_generators.commands import extract_codes, sample

from ..tiny import tokenizer_config

PROGRAM = "open('pwned', 'w').write('x')\n"
POPEN = dict(type='subprocess.Popen', args=['touch', 'pwned'])
MODEL = dict(type='TokenizerTask', tokenizer=tokenizer_config(), reconstruction_loss=dict(type='L2Loss'))
PHOTOS = dict(batch_size=2, dataset=dict(type='BundledPhotos', split='eval', crop_size=8, crops=2))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path('pwned').exists()


def save_checkpoint(config: Any) -> str:
    """A checkpoint of a tiny tokenizer that carries this as its config."""
    meta = dict(config=config, iter=1, seed=0, format_version=2, fvq_version='0.2.0', torch_version='2.11.0')
    torch.save({'state_dict': MODELS.build(MODEL).state_dict(), 'meta': meta}, 'iter_1.pth')
    return 'iter_1.pth'


def hostile_configs() -> dict[str, Any]:
    """As text, as a description of each part, and with each key that could be followed."""
    good = config_data(dict(model=MODEL, val_dataloader=PHOTOS))
    inside = json.loads(json.dumps(good))
    inside['model']['tokenizer']['quantizer']['projector'] = POPEN
    return {
        'text': f'{PROGRAM}model = {MODEL!r}\n',
        'model': dict(good, model=POPEN),
        'loss': dict(good, model=dict(good['model'], reconstruction_loss=POPEN)),
        'tokenizer': dict(good, model=dict(good['model'], tokenizer=POPEN)),
        'projector': inside,
        'discriminator': dict(good, model=dict(good['model'], adversarial=dict(type='AdversarialLoss', loss=POPEN))),
        'scope': dict(good, model=dict(good['model'], _scope_='mmengine')),
        'imports': dict(good, model=dict(good['model'], custom_imports=dict(imports=['antigravity']))),
    }


READERS: dict[str, Callable[[str], int]] = {
    'export': lambda path: export.main([path, 'out']),
    'extract_codes': lambda path: extract_codes.main([path, 'bundled', 'codes', '--size', '8', '--crops', 'center']),
    'analyze': lambda path: analyze.main(['tsne', path, '--out', 'maps']),
    'sample': lambda path: sample.main([path, path, '--num', '2', '--out', 'samples']),
}


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('kind', hostile_configs())
def test_hostile_checkpoint_costs_one_line(reader: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_checkpoint(hostile_configs()[kind])
    assert READERS[reader](path) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert error.count('\n') == 1
    assert 'iter_1.pth' in error
    assert sorted(entry.name for entry in Path().iterdir()) == ['iter_1.pth']


def test_evaluation_data_of_a_checkpoint_is_built_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    for hostile in (dict(PHOTOS, dataset=POPEN), dict(PHOTOS, dataset=dict(PHOTOS['dataset'], transforms=[POPEN]))):
        path = save_checkpoint(config_data(dict(model=MODEL)) | dict(val_dataloader=hostile))
        assert analyze.main(['tsne', path, '--out', 'maps']) == 2
        assert 'is an import path' in capsys.readouterr().err


def test_tokenizer_of_the_good_checkpoint_is_exported() -> None:
    assert export.main([save_checkpoint(config_data(dict(model=MODEL))), 'out']) == 0


def test_checkpoint_of_an_earlier_version_is_refused_naming_it_and_the_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = save_checkpoint(f'{PROGRAM}model = {MODEL!r}\n')
    assert export.main([path, 'out']) == 2
    assert (
        'was written by FVQ 0.1, whose files hold their config as a program; name its config' in capsys.readouterr().err
    )
    Path('own.py').write_text(f'model = {MODEL!r}\n')
    assert export.main([path, 'out', '--config', 'own.py']) == 0


def test_programs_in_a_work_dir_are_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    work_dir = Path('work_dirs/run')
    work_dir.mkdir(parents=True)
    (work_dir / 'config.py').write_text(PROGRAM)
    (work_dir / 'history.jsonl').write_text('{"iter": 1, "split": "train", "usage_window": 1.0}\n')
    document = {'metrics': {}, 'config': 'configs/mini/vq.py', 'resolved_config': PROGRAM, 'seed': 0, 'versions': {}}
    (work_dir / 'metrics.json').write_text(json.dumps(document))
    (work_dir / 'resolved_config.json').write_text(json.dumps(PROGRAM))
    assert zoo.main(['mini/vq']) == 0
    assert report.main(['work_dirs', '--out', 'out']) in (0, 2)
    assert analyze.main(['curves', 'work_dirs', '--out', 'out']) == 2
    assert 'resolved_config.json was written by FVQ 0.1' in capsys.readouterr().err
    (work_dir / 'resolved_config.json').unlink()
    assert analyze.main(['curves', 'work_dirs', '--out', 'out']) == 2
    assert 'carries no config; tools/train.py' in capsys.readouterr().err


def test_a_config_that_a_user_names_is_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    Path('config.py').write_text("open('ran', 'w').close()\nbase = 'configs/mini/vq.py'\ndevice = 'abacus'\n")
    assert train.main(['config.py']) == 2
    assert 'abacus' in capsys.readouterr().err
    assert Path('ran').exists()
