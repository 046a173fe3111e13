"""`tools/extract_codes.py`: one process or two, killed or not, write the same store; bad input costs one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from fvq_core.config.data import config_data
from fvq_core.config.read import load_config
from fvq_core.registry import TOKENIZERS
from fvq_core.training.checkpoint import write_checkpoint
from fvq_core.training.tasks import TokenizerTask
from fvq_generators.codes_store import CodesStore
from fvq_generators.commands import extract_codes
from tests.pictures import picture, save
from tests.tiny import tiny_tokenizer, tokenizer_config

from ..ranks import TwoRanks
from .helpers import PHOTOS, REPO, tool, tool_on_two_ranks

SMALL = ['--size', '12', '--workers', '0', '--device', 'cpu']


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    return str(tiny_tokenizer().fold().save_pretrained(tmp_path / 'tokenizer'))


@pytest.fixture
def photos(tmp_path: Path) -> str:
    for number in range(24):
        save(picture(20, 16, number), tmp_path / 'photos' / f'class{number % 3}' / f'{number}.png')
    return str(tmp_path / 'photos')


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_help_teaches(tmp_path: Path):
    shown = tool('extract_codes', '--help', cwd=tmp_path)
    assert shown.returncode == 0
    for word in ('ten', 'random N', '--crop-range', 'torchrun', 'CodesDataset', 'continues', 'bundled'):
        assert word in shown.stdout


def test_the_command_prints_what_it_made(
    tokenizer: str, photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / 'codes'
    assert extract_codes.main([tokenizer, photos, str(out), *SMALL, '--crop-range', '1.1', '1.05']) == 0
    store = CodesStore(out)
    assert (len(store), store.num_crops, store.manifest.crops['ranges']) == (24, 20, [1.1, 1.05])
    said = capsys.readouterr().out
    assert f'24 images x 20 crops x 36 codes of 16, as uint16, of tokenizer {store.tokenizer_hash[:12]}' in said


def test_a_checkpoint_and_the_tokenizer_exported_from_it_make_the_same_store(photos: str, tmp_path: Path):
    model = dict(type='TokenizerTask', tokenizer=tokenizer_config(), reconstruction_loss=dict(type='L2Loss'))
    task = TokenizerTask(**{key: value for key, value in model.items() if key != 'type'})
    state = {'state_dict': task.state_dict(), 'meta': dict(iter=1, seed=0, config=config_data(dict(model=model)))}
    average = {key: value + 0.01 for key, value in task.state_dict().items() if value.is_floating_point()}
    write_checkpoint({**state, 'ema_state_dict': {**task.state_dict(), **average}}, tmp_path / 'iter_1.pth')
    task.tokenizer.eval().fold().save_pretrained(tmp_path / 'raw')
    runs = {'folder': [str(tmp_path / 'raw')], 'raw': [str(tmp_path / 'iter_1.pth'), '--weights', 'raw']}
    runs['average'] = [str(tmp_path / 'iter_1.pth')]
    for name, (source, *options) in runs.items():
        assert extract_codes.main([source, photos, str(tmp_path / f'of {name}'), *SMALL, *options]) == 0
    of = {name: CodesStore(tmp_path / f'of {name}') for name in runs}
    assert of['folder'].tokenizer_hash == of['raw'].tokenizer_hash != of['average'].tokenizer_hash
    assert all(torch.equal(of['folder'].all_codes(n), of['raw'].all_codes(n)) for n in range(24))


def test_the_bundled_photos_and_the_photo_tokenizer_go_together(tmp_path: Path):
    photo_tokenizer = TOKENIZERS.build(load_config(PHOTOS).model.tokenizer).eval().fold()
    photo_tokenizer.save_pretrained(tmp_path / 'tokenizer')
    out, options = tmp_path / 'codes', ['--size', '64', '--crops', 'random', '2', '--flip', '--workers', '0']
    assert extract_codes.main([str(tmp_path / 'tokenizer'), 'bundled', str(out), *options]) == 0
    store = CodesStore(out)
    assert (len(store), store.num_crops, [store.label(n) for n in range(10)]) == (10, 4, list(range(10)))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere/tokenizer', '{photos}'], 'nowhere/tokenizer'),
        (['{tmp}/iter_9.pth', '{photos}'], 'iter_9.pth does not exist'),
        (['{tokenizer}', '{tmp}/nothing'], "nothing' is not a folder"),
        (['{tokenizer}', '{tmp}/a.tar'], 'do not exist'),
        (['{tokenizer}', '{photos}', '--crops', 'many'], "--crops takes 'ten', 'center', 'random N' or 'native N'"),
        (['{tokenizer}', '{photos}', '--size', '20'], 'is 20x16, smaller than the 22x22 crop'),
        (['{tokenizer}', '{photos}', '--size', '0'], 'size must be 1 or more, got 0'),
        (['{tokenizer}', '{photos}', '--weights', 'raw'], '--weights is for checkpoints'),
        (['{tokenizer}', '{tmp}/broken'], '1 of 1 images cannot be read'),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    tokenizer: str,
    photos: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken/1.png').write_bytes(b'no image')
    source, data, *options = [a.format(tokenizer=tokenizer, photos=photos, tmp=tmp_path) for a in arguments]
    assert extract_codes.main([source, data, str(tmp_path / 'out'), *SMALL, *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count('\n') == 1
    with pytest.raises(ValueError, match=r'unfinished|not a codes store'):
        CodesStore(tmp_path / 'out')


def test_two_processes_write_the_bytes_of_one(two_ranks: TwoRanks, tokenizer: str, photos: str, tmp_path: Path):
    Path(photos, 'class1', '4.png').write_bytes(b'no image')
    options = [*SMALL, '--shard-size', '5', '--batch-size', '20']
    assert extract_codes.main([tokenizer, photos, str(tmp_path / 'one'), *options]) == 0
    call = ['extract_codes', tokenizer, photos, str(tmp_path / 'two'), *options]
    both = tool_on_two_ranks(two_ranks, *call)
    assert [done.returncode for done in both] == [0, 0], both
    assert ['23 images x 10 crops' in done.stdout for done in both] == [True, False]
    assert files(tmp_path / 'one') == files(tmp_path / 'two')

    for done in tool_on_two_ranks(two_ranks, *call, '--crops', 'center'):
        assert done.returncode == 2
        assert 'holds codes made otherwise' in done.stderr
    assert files(tmp_path / 'one') == files(tmp_path / 'two')


@pytest.mark.processes
@pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='kills a process')
def test_a_killed_extraction_is_continued_to_the_same_bytes(tokenizer: str, tmp_path: Path):
    for number in range(80):
        save(Image.new('RGB', (80, 80), (number, 0, 0)), tmp_path / 'many' / f'{number}.png')
    arguments = [tokenizer, str(tmp_path / 'many'), str(tmp_path / 'killed'), '--device', 'cpu', '--workers', '1']
    arguments += ['--size', '64', '--crops', 'center', '--shard-size', '10', '--batch-size', '4']
    command = [sys.executable, str(REPO / 'tools/extract_codes.py'), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 200
    while not (tmp_path / 'killed/shard-00001.json').exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    with pytest.raises(ValueError, match='unfinished'):
        CodesStore(tmp_path / 'killed')

    assert extract_codes.main(arguments) == 0
    arguments[2] = str(tmp_path / 'straight')
    assert extract_codes.main(arguments) == 0
    assert files(tmp_path / 'killed') == files(tmp_path / 'straight')
