"""Configs are found by what their folder holds, wherever FVQ is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fvq_core.config import find as config_files
from fvq_core.config.find import LANDMARKS, config_names, config_root, find_config
from fvq_core.errors import UserError

CLONE = Path(__file__).parents[2]
LIST = 'import sys; from fvq_eval.commands.zoo import main; sys.exit(main(["t1.1"]))'


@pytest.fixture
def installed_at(monkeypatch: pytest.MonkeyPatch):
    """Pretend that this package lies in another folder."""

    def move(folder: Path) -> None:
        config_root.cache_clear()
        monkeypatch.setattr(config_files, '__file__', str(folder / 'config_files.py'))

    yield move
    config_root.cache_clear()


def make_configs(folder: Path) -> Path:
    for mark in LANDMARKS:
        path = folder / mark
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.touch()
        else:
            path.mkdir(exist_ok=True)
    (folder / 'configs/fvq/own.py').touch()
    return folder


def test_installed_right_below_the_root_without_configs_is_one_line(
    installed_at, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    installed_at(Path('/fvq_core'))
    assert config_root() is None
    with pytest.raises(UserError, match=r'config configs/fvq/var_16k\.py does not exist'):
        find_config('configs/fvq/var_16k.py')
    with pytest.raises(UserError, match='the configs of FVQ are not installed'):
        config_names()


def test_configs_of_a_stranger_are_not_taken_for_ours(installed_at, tmp_path: Path) -> None:
    (tmp_path / 'configs/fvq').mkdir(parents=True)
    (tmp_path / 'configs/fvq/own.py').touch()
    installed_at(tmp_path / 'lib/python3/site-packages/fvq_core')
    assert config_root() is None


def test_those_in_the_wheel_come_before_a_clone_around_it(installed_at, tmp_path: Path) -> None:
    make_configs(tmp_path)
    installed_at(tmp_path / '.venv/lib/fvq_core')
    assert config_root() == tmp_path
    config_root.cache_clear()
    wheel = make_configs(tmp_path / '.venv/lib/fvq_core')
    assert config_root() == wheel
    assert find_config('configs/fvq/own.py') == wheel / 'configs/fvq/own.py'
    assert config_names() == ['configs/fvq/own.py']


@pytest.mark.processes
def test_commands_work_from_a_read_only_folder_with_any_name_and_from_anywhere(tmp_path: Path) -> None:
    """Laid out as the wheels are; see the packages' pyproject.toml."""
    site = tmp_path / "l'été à vélo"
    for package in ('core', 'quantizers', 'generators', 'eval'):
        source = CLONE / f'packages/fvq-{package}/src/fvq_{package}'
        shutil.copytree(source, site / source.name, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copytree(CLONE / 'configs', site / 'fvq_core/configs', ignore=shutil.ignore_patterns('__pycache__'))
    folders = [path for path in (site, *site.rglob('*')) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    env = {**os.environ, 'PYTHONPATH': str(site), 'PYTHONDONTWRITEBYTECODE': '1'}
    (tmp_path / 'elsewhere/configs').mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, '-c', LIST], cwd=tmp_path / 'elsewhere', env=env, capture_output=True, text=True, check=False
    )
    for folder in folders:
        folder.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert 't1.1' in done.stdout
    assert 'configs/' in done.stdout
