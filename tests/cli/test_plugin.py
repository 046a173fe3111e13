"""A stranger's package adds a projector, and `tools/train.py` trains it with a config of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.interop.convert import find_importer
from fvq_core.registry import IMPORTERS

from ..tiny import tiny_tokenizer
from .helpers import NO_REPORT, REPO, start_tool, tool

pytestmark = pytest.mark.processes

EXTENDING = (REPO / 'docs/extending.md').read_text()


def documented(file_name: str) -> str:
    """The code block of docs/extending.md that starts with a comment naming the file."""
    match = re.search(rf'```[a-z]+\n# {re.escape(file_name)}\n(.*?)```', EXTENDING, re.DOTALL)
    assert match, f'docs/extending.md has no block for {file_name}'
    return match[1]


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of docs/extending.md, built and pip-installed into a folder."""
    source = tmp_path_factory.mktemp('low-rank')
    (source / 'fvq_low_rank.py').write_text(documented('fvq_low_rank.py'))
    (source / 'pyproject.toml').write_text(documented('pyproject.toml'))
    target = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps']
    subprocess.run([*command, '--no-build-isolation', '--target', str(target), str(source)], check=True)
    return target


def test_the_package_of_the_docs_trains(site: Path, tmp_path: Path) -> None:
    (tmp_path / 'low_rank_photos.py').write_text(documented('low_rank_photos.py'))
    env = {**os.environ, 'PYTHONPATH': str(site)}
    done = start_tool('train', 'low_rank_photos.py', '--cfg-options', *NO_REPORT, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    state = torch.load(tmp_path / 'work_dirs/low_rank_photos/iter_9.pth', weights_only=True)['state_dict']
    assert state['tokenizer.quantizer.projector.up.weight'].shape == (64, 8)
    assert state['tokenizer.quantizer.projector.up.weight'].abs().max() > 0  # it started at zero: it was trained


def test_a_name_that_is_not_installed_is_refused_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / 'low_rank_photos.py').write_text(documented('low_rank_photos.py'))
    done = tool('train', 'low_rank_photos.py', cwd=tmp_path)
    assert done.returncode == 2
    assert "'LowRankProjector' is not registered" in done.stderr
    assert not (tmp_path / 'work_dirs').exists()


def test_the_importer_of_the_docs_renames_keys() -> None:
    exec(documented('fvq_peer.py'), {'__name__': 'fvq_peer'})
    try:
        read = find_importer('peer', {}).read
    finally:
        IMPORTERS.module_dict.pop('peer')
    config, state = read({'codebook.weight': torch.zeros(4, 3), 'enc.a': torch.zeros(1), 'dec.b': torch.zeros(2)})
    assert config['quantizer'] == dict(type='VectorQuantizer', codebook_size=4, code_dim=3)
    assert {key: len(value) for key, value in state.items()} == {
        'quantizer.embedding': 4,
        'encoder.a': 1,
        'decoder.b': 2,
    }


def test_the_command_of_the_docs_prints_the_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(documented('fvq_codebook_size.py'), names)
    tokenizer = tiny_tokenizer().fold()
    folder = tokenizer.save_pretrained(tmp_path / 'tokenizer')
    assert names['main']([str(folder)]) == 0
    assert capsys.readouterr().out.split() == [str(size) for size in tokenizer.quantizer.codebook().shape]
    assert names['main']([str(tmp_path / 'absent')]) == 2
