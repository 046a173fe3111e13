"""PSNR of a row against that of its reference, on the same images and from the same seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fvq_core.files.arrays import read_npz

from ..hooks.per_image_hook import NAME as PER_IMAGE_NAME
from .bootstrap import PairedDifference, paired_bootstrap
from .photo_data import labels_are_photos
from .reference import same_rate
from .rows import Row
from .run import BenchmarkRun
from .scheduler import SELECTED_BY

OTHER_RATE, NO_COMMON_SEED, OTHER_CROPS = 'other rate', 'no common seed', 'other crops'


def compare(
    row: Row, runs: Sequence[BenchmarkRun], reference: Row, against: Sequence[BenchmarkRun]
) -> tuple[PairedDifference | None, str]:
    """PSNR of a row minus that of its reference, over the seeds that both finished.

    Returns:
        The difference, or None; and why there is none, or which seeds it covers if more were trained, else ''.
    """
    if not runs or not against:
        return None, ''
    if not same_rate(row, reference):
        return None, OTHER_RATE
    common = {run.seed for run in runs} & {run.seed for run in against}
    if not common:
        return None, NO_COMMON_SEED
    own, other = ([run for run in each if run.seed in common] for each in (runs, against))
    found = [read_npz(run.folder / PER_IMAGE_NAME) for run in (*own, *other)]
    labels = found[0]['labels']
    if any(not np.array_equal(labels, each['labels']) for each in found):
        return None, OTHER_CROPS
    scores, reference_scores = (
        np.mean([each[SELECTED_BY] for each in part], axis=0) for part in (found[: len(own)], found[len(own) :])
    )
    photos = labels if labels_are_photos(own[0].cfg.val_dataloader['dataset']) else np.full_like(labels, -1)
    few = len(common) < max(len(runs), len(against))
    note = f'seed{"s" * (len(common) > 1)} {", ".join(map(str, sorted(common)))} only' if few else ''
    return paired_bootstrap(scores, reference_scores, photos), note
