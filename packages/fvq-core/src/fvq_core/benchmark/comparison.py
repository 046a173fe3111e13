"""PSNR of a row against that of its reference, on the same images and from the same seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..hooks.per_image_hook import NAME as PER_IMAGE_NAME
from .bootstrap import PairedDifference, paired_bootstrap
from .photo_data import labels_are_photos
from .reference import same_rate
from .rows import Row
from .run import Run
from .scheduler import SELECTED_BY

OTHER_RATE, NO_COMMON_SEED = 'other rate', 'no common seed'


def compare(
    row: Row, runs: Sequence[Run], reference: Row, against: Sequence[Run]
) -> tuple[PairedDifference | None, str]:
    """PSNR of a row minus that of its reference, over the seeds that both finished.

    Args:
        row: The row.
        runs: Its finished runs.
        reference: What it is compared with.
        against: The finished runs of that.

    Returns:
        The difference, None where there is none; and why not, or which seeds it is over where more were trained, or ''.
    """
    if not runs or not against:
        return None, ''
    if not same_rate(row, reference):
        return None, OTHER_RATE
    common = {run.seed for run in runs} & {run.seed for run in against}
    if not common:
        return None, NO_COMMON_SEED
    own, other = ([run for run in each if run.seed in common] for each in (runs, against))
    (scores, photos), (reference_scores, _) = per_image(own, SELECTED_BY), per_image(other, SELECTED_BY)
    few = len(common) < max(len(runs), len(against))
    note = f'seed{"s" * (len(common) > 1)} {", ".join(map(str, sorted(common)))} only' if few else ''
    return paired_bootstrap(scores, reference_scores, photos), note


def per_image(runs: Sequence[Run], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Each image's score, the mean over seeds, and the photo it was cut from: -1 where every image is one of its own."""
    arrays = [np.load(run.folder / PER_IMAGE_NAME) for run in runs]
    labels = arrays[0]['labels']
    photos = labels if labels_are_photos(runs[0].cfg.val_dataloader['dataset']) else np.full_like(labels, -1)
    return np.mean([array[key] for array in arrays], axis=0), photos
