"""The numbers for other programs: `report.csv` has a line a row, `runs.csv` a line a run, `photos.csv` one a run and photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fvq_core.files.arrays import read_npz

from ..hooks.per_image_hook import NAME as PER_IMAGE_NAME
from ..reports.output_files import write_csv
from .mixed_bootstrap import photo_means
from .run import FINISHED
from .summary import QUANTITIES, RowSummary, value_of

RUN_FACTS = ('learning_rate', 'steps', 'batch_size', 'seconds', 'steps_per_second', 'peak_memory_mib', 'device')


def write_report_csv(summaries: Sequence[RowSummary], path: Path) -> None:
    """Means, spreads, stamps' counts and paired differences; units as in the report."""
    write_csv(path, [report_line(summary) for summary in summaries])


def report_line(summary: RowSummary) -> dict[str, Any]:
    """A row's; every line has the same keys, with '' for what a row does not have."""
    row, difference = summary.row, summary.difference
    low, high = ('', '') if difference is None or difference.interval is None else difference.interval
    coded = summary.runs and row.codebook_size
    samples = summary.results[0]['metrics']['psnr']['samples'] if summary.runs else ''
    line = {
        'row': row.name,
        'config': row.source,
        'codebook_size': row.codebook_size or '',
        'bits_per_image': row.bits_per_image or '',
        'seeds': len(summary.runs),
        'lr_factor': summary.factor if summary.runs else '',
        'images': samples,
        'codes': summary.tokens if coded else '',
        'usage_cap': summary.cap if coded else '',
        'failure': summary.failure,
        'reference': summary.reference,
        'psnr_difference': difference.mean if difference else '',
        'psnr_difference_low': low,
        'psnr_difference_high': high,
        'photos': difference.photos if difference else '',
        'difference_note': summary.difference_note,
    }
    for quantity in QUANTITIES:
        cell = summary.cells.get(quantity.key)
        line[f'{quantity.key}_mean'] = '' if cell is None else cell.mean
        line[f'{quantity.key}_spread'] = '' if cell is None or cell.spread is None else cell.spread
    return line


def write_runs_csv(summaries: Sequence[RowSummary], path: Path) -> None:
    """Every run as it is: learning rate, seed, status, facts and every metric, unscaled."""
    tried = [(summary.row.name, run, result) for summary in summaries for run, result in summary.tried]
    metrics = sorted({key for *_, result in tried if result and 'metrics' in result for key in result['metrics']})
    lines = []
    for name, run, result in tried:
        line: dict[str, Any] = {'row': name, 'lr_factor': run.factor, 'seed': run.seed}
        line |= {'status': 'not trained' if result is None else result['status'], 'reason': '', 'weights': ''}
        line |= dict.fromkeys((*RUN_FACTS, *metrics), '')
        if result is not None and result['status'] == FINISHED:
            line['weights'] = result['metrics']['psnr']['weights']
            line |= {key: value_of(result, key) for key in (*RUN_FACTS, *metrics)}
        elif result is not None:
            line['reason'] = result['reason']
        lines.append(line)
    write_csv(path, lines)


def write_photo_scores(summaries: Sequence[RowSummary], path: Path) -> None:
    """Every run's mean over the crops of each photo, so that anyone can redo the statistics."""
    lines = []
    for summary in summaries:
        for run in summary.runs:
            found = read_npz(run.folder / PER_IMAGE_NAME)
            labels = found.pop('labels')
            means = {key: photo_means(scores[None], labels)[0][0] for key, scores in sorted(found.items())}
            for number, photo in enumerate(np.unique(labels)):
                line = {'row': summary.row.name, 'seed': run.seed, 'photo': int(photo)}
                lines.append(line | {key: f'{values[number]:.6g}' for key, values in means.items()})
    write_csv(path, lines)
