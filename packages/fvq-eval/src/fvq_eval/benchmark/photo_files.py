"""The photos of a folder: names, sizes, and whether two folders share one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fvq_core.data.folder_listing import list_folder
from fvq_core.errors import UserError
from fvq_core.files.hash import file_sha256

LISTED_DUPLICATES = 3  # in a message


def photo_sizes(folder: Path) -> dict[str, int]:
    """Bytes of every photo by its path below the folder."""
    sizes = {name: (folder / name).stat().st_size for name, _ in list_folder(str(folder)).images}
    if not sizes:
        raise UserError(f'benchmark: {folder} holds no image; put photographs there.')
    return sizes


def digest(content: Any) -> str:
    """A short hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def check_apart(train: Path, evaluation: Path, of_train: Mapping[str, int], of_evaluation: Mapping[str, int]) -> None:
    """Raise if a training photo is also in the evaluation set, under any name.

    Args:
        of_train: `photo_sizes` of the first; contents are read only if a size occurs in both.
    """
    if train == evaluation:
        raise UserError(f'benchmark: training and evaluation photos are both in {train}; give each their own folder.')
    common = set(of_train.values()) & set(of_evaluation.values())
    trained = {file_sha256(train / name): name for name, size in of_train.items() if size in common}
    doubled = [
        f'{evaluation.name}/{name} is {train.name}/{trained[found]}'
        for name, size in of_evaluation.items()
        if size in common and (found := file_sha256(evaluation / name)) in trained
    ]
    if doubled:
        more = f' and {len(doubled) - LISTED_DUPLICATES} more' if len(doubled) > LISTED_DUPLICATES else ''
        raise UserError(
            f'benchmark: evaluation photos must not be trained on, but {", ".join(doubled[:LISTED_DUPLICATES])}{more}; '
            'remove them from one of the two folders.'
        )
