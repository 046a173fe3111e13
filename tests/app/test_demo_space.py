"""`fvq demo` on the command line, and the folder of a Space that it writes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path

import pytest

from fvq.commands import demo
from fvq.demo import serve
from fvq_core.tokenizer import Tokenizer

from .demo_models import tiny_images, tiny_model

pytest.importorskip('gradio', reason='needs the extra fvq[demo]')


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A tokenizer and a generator, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return {
        'tokenizer': str(tiny_model('grid').save_pretrained('runs/grid/tokenizer')),
        'generator': str(tiny_images('MaskGIT').save_pretrained('runs/maskgit/generator')),
    }


def test_the_page_is_for_this_machine_only_unless_asked(folders: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    calls = []
    monkeypatch.setattr(serve, 'serve', lambda models, *where: calls.append((models.from_hub, *where)))
    assert demo.main([folders['tokenizer']]) == 0
    assert demo.main([folders['tokenizer'], '--host', '0.0.0.0', '--port', '80']) == 0
    assert demo.main([folders['tokenizer'], '--share']) == 0
    assert demo.main([folders['tokenizer'], '--share', '--hub']) == 0
    local = (True, '127.0.0.1', None, False)
    assert calls == [
        local,
        (False, '0.0.0.0', 80, False),
        (False, '127.0.0.1', None, True),
        (True, '127.0.0.1', None, True),
    ]


def test_before_anything_is_trained_the_page_shows_the_tokenizer_that_comes_with_fvq(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    shown: list[list[str]] = []
    monkeypatch.setattr(serve, 'serve', lambda models, *where: shown.append([*models.tokenizers]))
    assert demo.main([]) == 0
    assert shown == [['fvq_photos']]
    assert demo.main(['--space', 'space']) == 0
    assert "['fvq_photos']" in Path('space/app.py').read_text(), 'FVQ brings it there too'
    assert 'models: []' in Path('space/README.md').read_text(), 'it is no repository of the hub'


def test_a_mistake_costs_one_line(folders: dict[str, str], capsys: pytest.CaptureFixture[str]):
    for arguments, message in (
        (['runs/grid/tokeniser'], "did you mean 'runs/grid/tokenizer'?"),
        ([folders['generator']], 'describes no tokenizer'),
        ([folders['tokenizer'], '--generators', folders['tokenizer']], 'describes no generator'),
        ([folders['tokenizer'], '--space', 'runs'], 'there is something already'),
    ):
        assert demo.main(arguments) == 2
        error = capsys.readouterr().err
        assert error.count('\n') == 1
        assert error.startswith('error: ')
        assert message in error


def test_a_space_holds_all_that_it_needs(folders: dict[str, str]):
    assert demo.main([folders['tokenizer'], '--generators', folders['generator'], '--space', 'space']) == 0
    space = Path('space')
    assert Tokenizer.from_pretrained(space / 'models/tokenizer_grid_0').quantizer.codebook_size == 16
    assert (space / 'models/generator_maskgit_1/tokenizer/model.safetensors').is_file()
    card = (space / 'README.md').read_text()
    assert card.startswith('---\ntitle: "FVQ: grid"\n')
    assert f'sdk: gradio\nsdk_version: {version("gradio")}\n' in card
    lines = (space / 'requirements.txt').read_text().splitlines()
    assert all(re.fullmatch(r'[\w.-]+==[\w.]+', line) for line in lines), 'every one at a version'
    names = {line.partition('==')[0] for line in lines}
    assert {'torch', 'gradio', 'scikit-image', 'safetensors', 'timm'} <= names
    assert not any(name.startswith('fvq') for name in names), 'ours are on no index'
    packages = {path.name for path in (space / 'packages').iterdir() if '.dist-info' not in path.name}
    assert packages == {'fvq', 'fvq_core', 'fvq_eval', 'fvq_generators', 'fvq_quantizers'}
    assert (space / 'packages/fvq/demo/page/board.js').is_file()
    written = [path for path in space.rglob('*') if path.is_file() and path.suffix in ('.py', '.md', '.txt', '.json')]
    assert not [path for path in written if os.fspath(Path.cwd()) in path.read_text(errors='replace')], (
        'no path of here'
    )


@pytest.mark.processes
def test_a_space_runs_on_its_own_packages(folders: dict[str, str]):
    assert demo.main([folders['tokenizer'], '--space', 'space']) == 0
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    where = dict(GRADIO_SERVER_NAME='127.0.0.1', GRADIO_SERVER_PORT=str(port), PYTHONDONTWRITEBYTECODE='1')
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'} | where
    show = 'import runpy, sys; runpy.run_path("space/app.py"); import fvq_core; print(fvq_core.__file__, flush=True); '
    with subprocess.Popen(
        [sys.executable, '-c', f'{show}runpy.run_path("space/app.py", run_name="__main__")'],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == str(Path('space/packages/fvq_core/__init__.py').resolve())
            assert f'http://127.0.0.1:{port}' in process.stdout.readline()
            with urllib.request.urlopen(f'http://127.0.0.1:{port}/config') as answer:
                assert b'FVQ: look into image tokenizers' in answer.read()
        finally:
            process.terminate()
        assert process.wait(60) == 0, 'told to stop, it ends as it should'
