"""Finding config files: at a path, inside the wheel, or in the installed clone."""

from __future__ import annotations

import os
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from ..errors import UserError
from .sizes import is_sized_path

LANDMARKS = ('configs/fvq', 'configs/paper/reconstruction.csv')  # exist only in our configs


@cache
def config_root() -> Path | None:
    """The nearest folder above this file whose `configs/` is ours: this package in a wheel, a clone's root in a clone."""
    above = Path(__file__).resolve().parents
    return next((each for each in above if all(os.path.exists(each / mark) for mark in LANDMARKS)), None)


def find_config(path: str) -> Path:
    """A config file by path, or one of ours by its path from `configs/` on; raises with the nearest name if there is none."""
    root = config_root()
    candidates = [Path(path).expanduser(), *([root / path] if root else [])]
    if file := next(filter(Path.is_file, candidates), None):
        return file
    folder, name = Path(path).parent, Path(path).name
    if any(map(is_sized_path, candidates)):
        raise UserError(f'config {path} does not exist; give {folder.parent / name} --size {folder.name}')
    found = {Path(each).stem: each for each in config_names()} if root else {}
    found |= {file.stem: file.name for candidate in candidates for file in candidate.parent.glob('*.py')}
    near = get_close_matches(name.removesuffix('.py'), found, n=1)
    hint = f"did you mean '{found[near[0]]}'?" if near else '`fvq zoo` lists those of FVQ.'
    raise UserError(f'config {path} does not exist; {hint}')


def config_names() -> list[str]:
    """Every config of ours that can be trained, as `configs/FOLDER/NAME.py`, sorted; raises if they are not installed."""
    root = config_root()
    if root is None:
        raise UserError('the configs of FVQ are not installed; install the wheel of fvq-core, or a clone.')
    paths = (path.relative_to(root) for path in (root / 'configs').rglob('*.py'))
    return sorted(path.as_posix() for path in paths if '_base_' not in path.parts)
