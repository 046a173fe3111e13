"""The list of evaluation crops of a work dir: written once, the same for every row and every later call."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from fvq_core.errors import UserError
from fvq_core.files.atomic import write_atomically

LIST_NAME = 'evaluation_crops.txt'
CROPS_A_PHOTO = 4  # at least


def fix_crop_list(target: Path, photos: Sequence[str], crops: int, fixed: bool) -> str:
    """The list in a work dir if it fits, else a new one: every photo several times, each time for another crop.

    A label is the number of the photo.

    Args:
        photos: Paths below the evaluation folder.
        crops: Fewest crops wanted in all; a list with more of them is kept, with the same number of each photo.
        fixed: Whether runs were scored on the list that is there, or nothing may be written.

    Raises:
        UserError: The list is fixed, and is not there, lists other photos, or has too few crops.
    """
    text = os.fsdecode(target.read_bytes()) if target.is_file() else ''
    listed = text.count('\n')
    is_ours = text == crop_lines(photos, listed // len(photos))
    if text and is_ours and listed >= crops:
        return text
    if fixed:
        reason = (
            'is not there: no run of this folder was scored on crops of --data'
            if not text
            else f'has {listed} crops, and the rows of this call need {crops}'
            if is_ours
            else 'lists other photos than are there now'
        )
        raise UserError(
            f'benchmark: {target} {reason}. It stays as it is, so that all runs of a work dir are scored on the same '
            'crops; choose another --work-dir, with all rows in its first call.'
        )
    text = crop_lines(photos, max(CROPS_A_PHOTO, math.ceil(crops / len(photos))))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, os.fsencode(text), '', flush=False)
    return text


def crop_lines(photos: Sequence[str], rounds: int) -> str:
    """Each photo and its number, a line each, that many times over."""
    return ''.join(f'{name} {number}\n' for _ in range(rounds) for number, name in enumerate(photos))
