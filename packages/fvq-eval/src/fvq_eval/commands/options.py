"""Options that are checked before anything is computed."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from fvq_core.errors import UserError, nearest_hint
from fvq_core.files.atomic import file_above

# What fvq-eval has, known here without the seconds that its import takes; a test holds the two together.
PRESETS = ('adm', 'llamagen', 'fvq-release', 'ibq', 'rqvae', 'strict')
SCORES = ('fid', 'sfid', 'kid', 'inception_score', 'precision', 'recall', 'density', 'coverage')


def prepare_output(option: str, path: str | None, suffix: str = '') -> None:
    """Make the folder of a file that will be written at the end, and see that a file can be written there.

    Args:
        option: For messages.
        path: Of the file; None where none is wanted.
        suffix: What its name must end in.

    Raises:
        UserError: It is a folder, is called otherwise, or cannot be written.
    """
    if path is None:
        return
    if Path(path).is_dir():
        raise UserError(f'{option} {path} is a folder; name a file.')
    if not path.endswith(suffix):
        raise UserError(f"{option}: expected a name that ends in {suffix}, got '{path}'; name it {path}{suffix}.")
    folder = Path(path).parent
    if taken := file_above(folder):
        raise UserError(f'{option} {path}: expected {taken} to be a folder, got a file; name another place.')
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f'{option}: expected a file that can be written, got {path} ({error.strerror or error}); name another place.'
        ) from error


def check_names(kind: str, names: Sequence[str], valid: Collection[str]) -> None:
    """Refuse a name that there is not.

    Raises:
        UserError: With the nearest valid one.
    """
    for name in names:
        if name not in valid:
            raise UserError(f"there is no {kind} '{name}'; {nearest_hint(name, valid)}")


def check_least(option: str, value: int | None, least: int) -> None:
    """Refuse a number that is too small.

    Raises:
        UserError: Naming the option.
    """
    if value is not None and value < least:
        raise UserError(f'{option}: expected {least} or more, got {value}.')
